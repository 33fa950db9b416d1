"""The data gate on registered data sets: a table, and files, by name and by version."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from settings.data import DataSettings
from settings.workspace import WorkspaceSettings, WorkspaceTarget, resolve_workspace
from tasks.data_validation import validate_data
from tasks.errors import DataError
from tests.conftest import REPOSITORY

if TYPE_CHECKING:
    from azureml.core import Workspace

pytestmark = pytest.mark.emulator

SAMPLE = REPOSITORY / "code" / "training" / "diabetes.csv"
RULES = {"min_rows": 400, "columns": {"bmi": {"type": "number", "max": 0.2}, "progression": {"type": "integer"}}}


@pytest.fixture(scope="module")
def target(workspace: Workspace, tmp_path_factory: pytest.TempPathFactory) -> WorkspaceTarget:
    """The workspace, with ``gate-table`` and ``gate-files``: version 1 is the sample, version 2 its first 100 rows."""
    from azureml.core import Dataset

    lines = SAMPLE.read_text().splitlines(keepends=True)
    folder = tmp_path_factory.mktemp("gate")
    for version, rows in (("1", lines), ("2", lines[:101])):
        (folder / version).mkdir()
        (folder / version / "a.csv").write_text("".join(rows[:51]))
        (folder / version / "b.csv").write_text("".join([rows[0], *rows[51:]]))
    datastore = workspace.get_default_datastore()
    datastore.upload(str(folder), target_path="gate", overwrite=True, show_progress=False)
    for version in ("1", "2"):
        both = [(datastore, f"gate/{version}/{name}.csv") for name in "ab"]
        Dataset.Tabular.from_delimited_files(both).register(workspace, "gate-table", create_new_version=True)
        Dataset.File.from_files(both).register(workspace, "gate-files", create_new_version=True)
    return resolve_workspace(WorkspaceSettings(), os.environ)


def rules(dataset: str, version: int | None = None, **options: Any) -> DataSettings:
    return DataSettings.model_validate({"source": {"dataset": dataset, "version": version}, **RULES, **options})


@pytest.mark.parametrize("name", ["gate-table", "gate-files"])
def test_a_registered_data_set_is_judged_as_the_file_that_it_was_made_of(target: WorkspaceTarget, name: str) -> None:
    from_file = DataSettings.model_validate({"source": {"path": str(SAMPLE)}, **RULES})

    judged = validate_data(target, rules(name, 1))

    assert judged.failures == ()
    assert (judged.source, judged.rows, judged.columns) == (f"dataset {name}:1", 442, 11)
    assert judged.fingerprint == validate_data(target, from_file).fingerprint


@pytest.mark.parametrize("name", ["gate-table", "gate-files"])
def test_without_a_version_the_latest_is_judged_and_each_broken_rule_is_told(
    target: WorkspaceTarget, name: str
) -> None:
    drift = {"reference": {"dataset": name, "version": 1}, "columns": ("age",), "max_psi": 0.001}

    judged = validate_data(target, rules(name, columns={"bmi": {"max": 0.1}}, drift=drift))

    assert judged.source == f"dataset {name}:2"
    assert judged.reference == f"dataset {name}:1"
    assert [(failure.check, failure.column) for failure in judged.failures] == [
        ("rows", None),
        ("largest value", "bmi"),
        ("drift", "age"),
    ]


def test_a_name_that_is_not_registered_is_answered_with_those_that_are(target: WorkspaceTarget) -> None:
    with pytest.raises(DataError) as refused:
        validate_data(target, rules("gate-tabel"))

    assert refused.value.message == f"Workspace '{target.name}' has no data set 'gate-tabel'."
    assert "gate-table" in refused.value.next_step
    assert "gate-files" in refused.value.next_step
    assert "data.source" in refused.value.next_step


def test_a_version_that_is_not_there_is_answered_with_the_latest(target: WorkspaceTarget) -> None:
    with pytest.raises(DataError) as refused:
        validate_data(target, rules("gate-table", 7))

    assert refused.value.message == "Data set 'gate-table' has no version 7."
    assert refused.value.next_step == "Its latest version is 2: correct data.source or data.drift.reference."


def test_files_that_are_no_table_are_refused(target: WorkspaceTarget, workspace: Workspace, tmp_path: Path) -> None:
    from azureml.core import Dataset

    (tmp_path / "picture.csv").write_bytes(b"\xff\xfe\x00\x01")
    datastore = workspace.get_default_datastore()
    datastore.upload(str(tmp_path), target_path="gate-pictures", overwrite=True, show_progress=False)
    Dataset.File.from_files((datastore, "gate-pictures")).register(workspace, "gate-pictures", create_new_version=True)

    with pytest.raises(DataError, match=r"The file picture\.csv of data set 'gate-pictures' cannot be read"):
        validate_data(target, rules("gate-pictures"))
