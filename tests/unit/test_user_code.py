"""The data scientist's folder: the check of an answer, its command line, the sample."""

from __future__ import annotations

import importlib.util
import json
import math
from pathlib import Path
from types import ModuleType

import pytest

pytestmark = pytest.mark.unit

CODE = Path(__file__).resolve().parents[2] / "code"
SAMPLE = CODE / "testing" / "sample_request.json"
REQUEST = {"data": [[0.0] * 10, [0.1] * 10]}


@pytest.fixture(scope="module")
def check() -> ModuleType:
    specification = importlib.util.spec_from_file_location("check", CODE / "testing" / "check.py")
    assert specification and specification.loader
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_one_plausible_number_per_row_is_a_good_answer(check):
    assert check.check(REQUEST, [159.9, 136]) == []


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ({"error": "no model"}, 'the answer is not a list with one prediction per row but {"error": "no model"}'),
        ("159.9", 'the answer is not a list with one prediction per row but "159.9"'),
        ([159.9], "the answer has 1 predictions for 2 rows"),
        ([159.9, None], "prediction 2 is not a finite number but null"),
        ([True, 136.4], "prediction 1 is not a finite number but true"),
        ([math.nan, 136.4], "prediction 1 is not a finite number but NaN"),
        ([159.9, 1e9], "prediction 2 is 1e+09, outside of the plausible 0 to 450"),
    ],
)
def test_a_bad_answer_is_told_in_a_sentence(check, answer, problem):
    assert check.check(REQUEST, answer) == [problem]


def test_all_problems_are_told_at_once(check):
    assert len(check.check(REQUEST, [None, -1, 1])) == 3


@pytest.mark.parametrize(
    ("answer", "exit_code", "printed"),
    [
        ([159.9, 136.4], 0, ""),
        ([159.9, -5], 1, "prediction 2 is -5, outside of the plausible 0 to 450\n"),
    ],
)
def test_the_command_prints_a_problem_per_line_and_exits_with_1(check, tmp_path, capsys, answer, exit_code, printed):
    response = tmp_path / "response.json"
    response.write_text(json.dumps(answer))
    assert check.main(SAMPLE, response) == exit_code
    assert capsys.readouterr().out == printed


def test_the_sample_is_a_request_with_ten_features_a_row():
    rows = json.loads(SAMPLE.read_text())["data"]
    assert rows
    assert all(len(row) == 10 and all(isinstance(feature, float) for feature in row) for row in rows)


def test_the_folder_does_not_hide_the_module_of_the_standard_library():
    import code

    assert hasattr(code, "InteractiveConsole")
    assert not list(CODE.rglob("__init__.py"))
