"""Artifacts of runs, through the SDK, and the names that they may have."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.emulator.conftest import Client

if TYPE_CHECKING:
    from azureml.core import Run, Workspace

pytestmark = pytest.mark.emulator


@pytest.fixture
def run(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    from azureml.core import Experiment

    monkeypatch.chdir(tmp_path)
    interactive = Experiment(workspace, "artifacts").start_logging(snapshot_directory=None)
    yield interactive
    interactive.complete()


def test_files_and_folders_come_back_as_they_were_uploaded(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "made" / "inner"
    folder.mkdir(parents=True)
    (tmp_path / "made" / "a.bin").write_bytes(bytes(range(256)))
    (folder / "ünïcode name.txt").write_text("text")
    run.upload_folder("folder", "made")
    run.upload_file("single.bin", "made/a.bin")
    run.upload_files(["several/1", "several/2"], ["made/a.bin", "made/inner/ünïcode name.txt"])

    assert sorted(run.get_file_names()) == [
        "folder/a.bin",
        "folder/inner/ünïcode name.txt",
        "several/1",
        "several/2",
        "single.bin",
    ]
    run.download_file("single.bin", "got.bin")
    assert Path("got.bin").read_bytes() == bytes(range(256))
    run.download_files("folder", "got", append_prefix=False)
    assert Path("got/inner/ünïcode name.txt").read_text() == "text"
    assert not Path("got/single.bin").exists()


def test_a_file_that_is_uploaded_again_is_replaced(run: Run) -> None:
    for text in ("first", "second"):
        Path("file.txt").write_text(text)
        run.upload_file("kept.txt", "file.txt")
    run.download_file("kept.txt", "got.txt")
    assert Path("got.txt").read_text() == "second"


def test_a_prefix_is_a_folder_and_not_the_beginning_of_a_name(run: Run) -> None:
    Path("file.txt").write_text("x")
    for name in ("model/a", "model_old/b"):
        run.upload_file(name, "file.txt")
    run.download_files("model", "got")
    assert sorted(path.as_posix() for path in Path("got").rglob("*") if path.is_file()) == ["got/model/a"]


def test_a_missing_file_is_answered_with_those_that_are_there(run: Run) -> None:
    from azureml.exceptions import UserErrorException

    Path("file.txt").write_text("x")
    run.upload_file("there.txt", "file.txt")
    with pytest.raises(UserErrorException, match=r"missing\.txt was not found,\s+available files include: there\.txt"):
        run.download_file("missing.txt")


def test_an_image_is_an_artifact_that_a_metric_names(run: Run) -> None:
    Path("plot.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    run.log_image("plot", path="plot.png")
    run.flush()
    container = f"dcid.{run.id}"
    assert run.get_metrics() == {"plot": f"aml://artifactId/ExperimentRun/{container}/plot.png"}
    assert run.get_file_names() == ["plot.png"]


def test_a_name_that_leaves_its_container_is_refused(workspace: Workspace, client: Client) -> None:
    scope = workspace.service_context._get_workspace_scope()
    answer = client.call(
        "POST",
        f"/artifact/v2.0{scope}/artifacts/batch/metadata/ExperimentRun/dcid.x",
        json={"paths": [{"path": "../../../../emulator.json"}]},
    )
    assert answer.status_code == 400
    assert "is not a name of a blob" in answer.json()["message"]
