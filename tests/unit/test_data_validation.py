"""The data gate as a whole: from a file to a verdict and a fingerprint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from settings import load
from settings.data import DataSettings
from settings.workspace import WorkspaceTarget
from tasks.data_validation import fingerprint, read_file, validate_data
from tasks.errors import DataError
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.unit

# Only a registered dataset asks for the workspace.
NOWHERE = WorkspaceTarget(
    cloud="emulator", name="none", subscription_id="s", resource_group="r", location="l", friendly_name=None
)


def settings(source: Path, **options: Any) -> DataSettings:
    return DataSettings.model_validate({"source": {"path": str(source)}, **options})


def written(directory: Path, text: str, name: str = "data.csv") -> Path:
    path = directory / name
    path.write_text(text)
    return path


def test_the_sample_keeps_the_rules_that_are_shipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    shipped = load(environment={}).data
    assert shipped is not None
    report = validate_data(NOWHERE, shipped)
    assert report.accepted
    assert (report.source, report.rows, report.columns) == ("code/training/diabetes.csv", 442, 11)


def test_broken_rules_and_drift_are_told_together(tmp_path: Path) -> None:
    reference = written(tmp_path, "x\n" + "\n".join(map(str, range(100))), "old.csv")
    data = written(tmp_path, "x\n" + "\n".join(map(str, range(500, 600))))
    report = validate_data(
        NOWHERE,
        settings(data, columns={"x": {"max": 598}}, drift={"reference": {"path": str(reference)}, "max_psi": 0.2}),
    )
    assert not report.accepted
    assert [(failure.check, failure.column) for failure in report.failures] == [("largest value", "x"), ("drift", "x")]
    assert (report.reference, report.max_psi, report.max_ks) == (str(reference), 0.2, None)
    assert json.loads(report.model_dump_json())["drift"][0]["ks"] == 1.0


def test_a_column_of_digits_that_is_said_to_be_text_is_read_as_text(tmp_path: Path) -> None:
    data = written(tmp_path, "postcode\n01067\n10115\n")
    assert validate_data(NOWHERE, settings(data, columns={"postcode": {"type": "text"}})).accepted
    assert read_file(data, ["postcode"])["postcode"].tolist() == ["01067", "10115"]


def test_the_fingerprint_is_that_of_the_content_and_not_of_the_file(tmp_path: Path) -> None:
    text = "x,name\n1.5,Ada\n2,\n"
    frame = read_file(written(tmp_path, text))
    frame.to_parquet(tmp_path / "data.parquet")
    assert fingerprint(read_file(tmp_path / "data.parquet")) == fingerprint(frame)
    assert len(fingerprint(frame)) == 64
    for other in ("x,name\n2,\n1.5,Ada\n", "x,title\n1.5,Ada\n2,\n", "name,x\nAda,1.5\n,2\n", "x,name\n1.6,Ada\n2,\n"):
        assert fingerprint(read_file(written(tmp_path, other))) != fingerprint(frame)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "No columns to parse from file"),
        (b"a,b\n1,2\n1,2,3\n", "Expected 2 fields in line 3, saw 3"),
        (b"name\n\xff\xfe\n", "invalid start byte"),
    ],
)
def test_a_file_that_is_no_table_is_an_error_with_its_name(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "data.csv"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        validate_data(NOWHERE, settings(path))
    assert caught.value.message.startswith(f"The data file {path} cannot be read: ")
    assert reason in caught.value.message
    assert caught.value.next_step == "Give CSV in UTF-8 with a line of names, or Parquet."


def test_a_file_that_is_no_parquet_is_an_error_too(tmp_path: Path) -> None:
    path = written(tmp_path, "x\n1\n", "data.parquet")
    with pytest.raises(DataError, match=r"data\.parquet cannot be read: "):
        validate_data(NOWHERE, settings(path))


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "none.csv"
    with pytest.raises(DataError, match=r"The data file .*none\.csv is not there\. Correct data\.source\.path"):
        validate_data(NOWHERE, settings(path))
    sound = written(tmp_path, "x\n1\n")
    with pytest.raises(DataError, match=r"none\.csv is not there"):
        validate_data(NOWHERE, settings(sound, drift={"reference": {"path": str(path)}, "max_ks": 0.1}))


def test_a_million_rows_are_read_as_one_column_type(tmp_path: Path) -> None:
    # Read in pieces, a column would be numbers here and text there.
    data = written(tmp_path, "x\n" + "1\n" * 300_000 + "one\n")
    assert read_file(data)["x"].map(type).unique().tolist() == [str]
    assert isinstance(pd.unique(read_file(data)["x"])[0], str)
