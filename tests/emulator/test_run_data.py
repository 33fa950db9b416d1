"""Data of runs: data sets by name and version, data references and outputs, as scripts see them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.emulator.submitting import log_of, until

if TYPE_CHECKING:
    from azureml.core import Experiment, Run, Workspace
    from azureml.data.azure_storage_datastore import AzureBlobDatastore

pytestmark = pytest.mark.emulator


@pytest.fixture(scope="module")
def datastore(workspace: Workspace, tmp_path_factory: pytest.TempPathFactory) -> AzureBlobDatastore:
    """The default datastore, with two files in its folder ``garage/cars``."""
    folder = tmp_path_factory.mktemp("cars")
    (folder / "old").mkdir()
    (folder / "new.csv").write_text("speed,price\n10,20.5\n11,21.5\n")
    (folder / "old" / "beetle.csv").write_text("speed,price\n7,3.5\n")
    datastore = workspace.get_default_datastore()
    datastore.upload(str(folder), target_path="garage/cars", overwrite=True, show_progress=False)
    return datastore


def test_a_data_set_is_registered_by_name_and_found_by_version(
    workspace: Workspace, datastore: AzureBlobDatastore
) -> None:
    from azureml.core import Dataset
    from azureml.exceptions import UserErrorException

    first = Dataset.File.from_files((datastore, "garage/cars/old")).register(workspace, "cars", description="by hand")
    with pytest.raises(UserErrorException, match='already a dataset registered under name "cars"'):
        Dataset.File.from_files((datastore, "garage/cars")).register(workspace, "cars")
    second = Dataset.File.from_files((datastore, "garage/cars")).register(workspace, "cars", create_new_version=True)
    again = Dataset.File.from_files((datastore, "garage/cars")).register(workspace, "cars", create_new_version=True)
    assert (first.version, second.version, again.version) == (1, 2, 2)
    with pytest.raises(UserErrorException, match="has been registered as cars:2"):
        Dataset.File.from_files((datastore, "garage/cars")).register(workspace, "vehicles")

    assert Dataset.get_by_name(workspace, "cars", 1).to_path() == ["/beetle.csv"]
    assert sorted(Dataset.get_by_name(workspace, "cars").to_path()) == ["/new.csv", "/old/beetle.csv"]
    assert Dataset.get_by_id(workspace, first.id).name == "cars"
    second.add_tags({"origin": "test"})
    assert Dataset.get_by_name(workspace, "cars").tags == {"origin": "test"}
    assert "cars" in Dataset.get_all(workspace)
    second.unregister_all_versions()
    assert "cars" not in Dataset.get_all(workspace)


def test_a_script_finds_data_sets_by_argument_and_by_input_name(
    workspace: Workspace, datastore: AzureBlobDatastore, submit: Callable[..., Run]
) -> None:
    from azureml.core import Dataset

    folder = Dataset.File.from_files((datastore, "garage/cars/**"))
    file = Dataset.File.from_files((datastore, "garage/cars/new.csv"))
    table = Dataset.Tabular.from_delimited_files((datastore, "garage/cars/new.csv"))
    table = table.register(workspace, "prices", create_new_version=True)
    run = submit(
        """
        import json, pathlib, sys
        from azureml.core import Run
        inputs = Run.get_context(allow_offline=False).input_datasets
        mounted, downloaded = (pathlib.Path(argument) for argument in sys.argv[1:3])
        print(json.dumps({
            "mounted": sorted(str(file.relative_to(mounted)) for file in mounted.rglob("*.csv")),
            "the same": inputs["all_cars"] == str(mounted),
            "downloaded": str(downloaded.relative_to(pathlib.Path.cwd())),
            "content": downloaded.read_text(),
            "table": [inputs["prices"].name, inputs["prices"].version],
            "prices": list(inputs["prices"].to_pandas_dataframe()["price"]),
        }))
        """,
        arguments=[
            folder.as_named_input("all_cars").as_mount(),
            file.as_download(path_on_compute="data/today"),
            table.as_named_input("prices"),
        ],
    )
    assert until(run) == "Completed", run.get_details()["error"]
    told = json.loads(next(line for line in log_of(run).splitlines() if line.startswith('{"mounted"')))
    assert told == {
        "mounted": ["new.csv", "old/beetle.csv"],
        "the same": True,
        "downloaded": "data/today/new.csv",
        "content": "speed,price\n10,20.5\n11,21.5\n",
        "table": ["prices", table.version],
        "prices": [20.5, 21.5],
    }
    used = {one["consumptionDetails"]["inputName"]: one["dataset"].id for one in run.get_details()["inputDatasets"]}
    assert used["prices"] == table.id


def test_data_references_are_mounted_downloaded_and_uploaded(
    submit: Callable[..., Run], datastore: AzureBlobDatastore, tmp_path: Path
) -> None:
    from azureml.core import ScriptRunConfig
    from azureml.core.runconfig import DataReferenceConfiguration

    script = """
        import os, pathlib, sys
        mounted, downloaded, uploaded = (pathlib.Path(argument) for argument in sys.argv[1:])
        assert str(mounted) == os.environ["AZUREML_DATAREFERENCE_mounted"]
        assert (mounted / "new.csv").read_text() == (downloaded / "new.csv").read_text()
        (mounted / "notes.txt").write_text("written through the mount")
        (downloaded / "new.csv").write_text("changed for itself")
        (uploaded / "model.txt").write_text("weights")
    """
    modes = ("mounted", "mount"), ("downloaded", "download"), ("uploaded", "upload")
    references = {
        name: DataReferenceConfiguration(
            datastore.name, mode, path_on_datastore="garage/cars" if mode != "upload" else "made"
        )
        for name, mode in modes
    }

    def with_references(configuration: ScriptRunConfig) -> None:
        configuration.run_config.data_references = references

    run = submit(script, arguments=[f"$AZUREML_DATAREFERENCE_{name}" for name, _ in modes], change=with_references)
    assert until(run) == "Completed", run.get_details()["error"]
    for folder in ("garage/cars", "made"):
        datastore.download(str(tmp_path / "back"), prefix=folder, show_progress=False)
    back = tmp_path / "back"
    assert (back / "garage" / "cars" / "notes.txt").read_text() == "written through the mount"
    assert (back / "garage" / "cars" / "new.csv").read_text().startswith("speed")
    assert (back / "made" / "model.txt").read_text() == "weights"


def test_an_output_goes_to_the_datastore(
    submit: Callable[..., Run], datastore: AzureBlobDatastore, tmp_path: Path
) -> None:
    from azureml.data import OutputFileDatasetConfig

    output = OutputFileDatasetConfig(name="scored", destination=(datastore, "scored/{run-id}")).as_upload()
    run = submit("import pathlib, sys; (pathlib.Path(sys.argv[1]) / 'a.txt').write_text('1')", arguments=[output])
    assert until(run) == "Completed", run.get_details()["error"]
    datastore.download(str(tmp_path / "back"), prefix=f"scored/{run.id}", show_progress=False)
    assert (tmp_path / "back" / "scored" / run.id / "a.txt").read_text() == "1"


def test_data_that_is_not_there_is_refused_when_the_run_is_submitted(
    submit: Callable[..., Run], experiment: Experiment
) -> None:
    from azureml.core import ScriptRunConfig
    from azureml.core.runconfig import Data, DataLocation, DataReferenceConfiguration, Dataset
    from azureml.exceptions import ExperimentExecutionException

    def with_dataset(configuration: ScriptRunConfig) -> None:
        location = DataLocation(dataset=Dataset(dataset_name="nothing"))
        configuration.run_config.data = {"x": Data(location, mechanism="download", environment_variable_name="x")}

    def with_datastore(configuration: ScriptRunConfig) -> None:
        configuration.run_config.data_references = {"x": DataReferenceConfiguration("elsewhere")}

    with pytest.raises(ExperimentExecutionException, match="Data set 'nothing' was not found"):
        submit("pass", change=with_dataset)
    with pytest.raises(ExperimentExecutionException, match="Datastore 'elsewhere' was not found"):
        submit("pass", change=with_datastore)
    assert list(experiment.get_runs()) == []
