"""Model.profile with a sample from the default datastore, as Azure's documentation has it."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import requests

from tests.emulator.scoring import FAILING, SCORE, inference_config, register_model

if TYPE_CHECKING:
    from azureml.core import Workspace
    from azureml.data import TabularDataset

pytestmark = pytest.mark.emulator


@pytest.fixture(autouse=True)
def _in_a_directory_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def sample(workspace: Workspace, tmp_path: Path) -> TabularDataset:
    from azureml.core import Dataset

    folder = tmp_path / "sample"
    folder.mkdir()
    (folder / "requests.jsonl").write_text('{"data": [1, 2]}\n{"data": [3]}\n')
    datastore = workspace.get_default_datastore()
    Dataset.File.upload_directory(str(folder), (datastore, "profiling"), overwrite=True, show_progress=False)
    return Dataset.Tabular.from_delimited_files(
        (datastore, "profiling/requests.jsonl"), separator="\n", header="NO_HEADERS"
    )


def test_a_profile_recommends_what_was_measured_with_headroom(workspace: Workspace, sample: TabularDataset) -> None:
    from azureml.core import Model

    model = register_model(workspace, "profiled", 2)
    profile = Model.profile(workspace, "measured", [model], inference_config(SCORE), input_dataset=sample, cpu=1.0)
    profile.wait_for_completion()
    details = profile.get_details()
    assert details["state"] == "Succeeded"
    assert details["requestedCpu"] == 1.0
    assert details["successQueries"] == details["totalQueries"] > 10
    assert 0 < details["latencyPercentile50InMs"] <= details["latencyPercentile99InMs"]
    assert details["maxUtilizedCpu"] <= details["recommendedCpu"] <= 3.5
    assert details["maxUtilizedMemoryInGB"] <= details["recommendedMemoryInGB"]


def test_a_profile_is_found_by_its_name_while_it_is_measured_and_afterwards(
    workspace: Workspace, sample: TabularDataset
) -> None:
    from azureml.core import Model
    from azureml.core.profile import ModelProfile

    model = register_model(workspace, "profiled", 2)
    started = Model.profile(
        workspace, "by-name", [model], inference_config(SCORE), input_dataset=sample, cpu=0.5, memory_in_gb=1.0
    )
    found = ModelProfile(workspace, "by-name")
    assert (found.state, found.requested_cpu, found.requested_memory_in_gb) == ("Running", 0.5, 1.0)
    assert "recommendedCpu" not in found.get_details()
    started.wait_for_completion()
    assert ModelProfile(workspace, "by-name").get_details() == started.get_details()
    assert started.state == "Succeeded"


def test_an_entry_script_that_fails_fails_the_profile_with_its_log(
    workspace: Workspace, sample: TabularDataset
) -> None:
    from azureml.core import Model

    profile = Model.profile(workspace, "failing", [], inference_config(FAILING), input_dataset=sample)
    with pytest.warns(UserWarning, match="entry script failed"):
        profile.wait_for_completion()
    assert profile.state == "Failed"
    assert "the weights are missing" in profile.error["details"][0]["message"]
    assert "the weights are missing" in requests.get(profile.error_logs_url, timeout=10).text


def test_requests_that_the_script_refuses_are_counted(workspace: Workspace, tmp_path: Path) -> None:
    from azureml.core import Dataset, Model

    folder = tmp_path / "half"
    folder.mkdir()
    (folder / "half.jsonl").write_text('{"data": [1]}\nnot json\n')
    datastore = workspace.get_default_datastore()
    Dataset.File.upload_directory(str(folder), (datastore, "half"), overwrite=True, show_progress=False)
    half = Dataset.Tabular.from_delimited_files((datastore, "half/half.jsonl"), separator="\n", header="NO_HEADERS")
    model = register_model(workspace, "profiled", 2)
    profile = Model.profile(workspace, "half", [model], inference_config(SCORE), input_dataset=half)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        profile.wait_for_completion()
    assert profile.state == "Succeeded"
    assert 40 < profile.success_rate < 60
    assert "requests failed" in profile.error["message"]


def test_a_data_set_of_another_kind_is_refused_by_name(workspace: Workspace, tmp_path: Path) -> None:
    from azureml.core import Dataset, Model
    from azureml.exceptions import WebserviceException

    folder = tmp_path / "table"
    folder.mkdir()
    (folder / "table.csv").write_text("name\nvalue\n")
    datastore = workspace.get_default_datastore()
    Dataset.File.upload_directory(str(folder), (datastore, "table"), overwrite=True, show_progress=False)
    table = Dataset.Tabular.from_delimited_files((datastore, "table/table.csv"))
    with pytest.raises(WebserviceException, match="does not implement data sets with delimiter"):
        Model.profile(workspace, "table", [], inference_config(FAILING), input_dataset=table)
