"""docs/training.md names a test for every option of training; each of them is one of `make test`."""

from __future__ import annotations

import ast
import re

import pytest

from settings.reference import reference
from settings.schema import json_schema
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.unit

PAGE = REPOSITORY / "docs" / "training.md"
ROW = re.compile(r"^\| `((?:experiment|compute_target)\.[^`]+)` \| `([^`:]+)::([^`]+)` \|$", re.MULTILINE)


def options() -> set[str]:
    """Every option of `experiment`, and of `compute_target` what is about training."""
    sections = re.split(r"^## ", reference(json_schema()), flags=re.MULTILINE)
    tables = {section.partition("\n")[0]: section for section in sections}
    found = {
        f"{title}.{option}"
        for title in ("experiment", "compute_target")
        for option in re.findall(r"^\| `([^`]+)`", tables[title], re.MULTILINE)
    }
    return {option for option in found if not option.startswith("compute_target.deployment.")}


def test_every_option_has_a_test_that_is_there_and_in_make_test() -> None:
    rows = ROW.findall(PAGE.read_text(encoding="utf-8"))

    assert {option for option, _, _ in rows} == options()
    for file in {file for _, file, _ in rows}:
        source = (REPOSITORY / file).read_text(encoding="utf-8")
        functions = {node.name for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)}
        assert {test for _, where, test in rows if where == file} <= functions
        assert re.search(r"^pytestmark = pytest\.mark\.(unit|emulator|flow)$", source, re.MULTILINE), file
