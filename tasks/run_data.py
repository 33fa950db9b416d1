"""The data of a training run: paths of datastores, local files, data sets, and the outputs of a former run.

Each reaches the script as an argument, ``--<name> PATH``, and as an environment variable: ``<name>`` for a data set,
``AZUREML_DATAREFERENCE_<name>`` for all else. A tabular data set has no path: its argument is its id, and
``Run.get_context().input_datasets["<name>"]`` is the data set itself.

Azure: https://learn.microsoft.com/azure/machine-learning/how-to-train-with-datasets; SDK:
``azureml.core.runconfig.DataReferenceConfiguration`` and ``azureml.core.Dataset``.
"""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from settings.experiment import DataReferenceSettings, DatasetSettings, ExperimentSettings, ResumeStateSettings
from settings.workspace import WorkspaceTarget
from tasks.cache_key import cache_key, content_of
from tasks.errors import TrainingError
from tasks.operation import explained
from tasks.progress import report
from tasks.workspace import open_workspace

if TYPE_CHECKING:
    from azureml.core import Datastore, Run, Workspace
    from azureml.core.runconfig import DataReferenceConfiguration
    from azureml.data import FileDataset, TabularDataset
    from azureml.data.dataset_consumption_config import DatasetConsumptionConfig

OUTPUTS = "outputs/"
_RESUME_ARGUMENT = "--resume-from"  # as ScriptRunConfig(resume_from=...) names it
_RESUME_REFERENCE = "MODEL_LOCATION"


@dataclass(frozen=True)
class RunData:
    """What a run configuration takes.

    Attributes:
        arguments: to append to those of the script; the SDK puts places for its own objects among them.
        references: for ``RunConfiguration.data_references``.
    """

    arguments: tuple[Any, ...]
    references: dict[str, DataReferenceConfiguration]


def run_data(workspace: Workspace, experiment: ExperimentSettings, former: Run | None) -> RunData:
    """The data that the settings name, uploaded where it is local.

    Args:
        former: the run whose outputs are handed on; None for none.

    Raises:
        TrainingError: a data set is not there, or a file cannot be uploaded.
    """
    arguments: list[Any] = []
    references: dict[str, DataReferenceConfiguration] = {}
    for name, wanted in experiment.data_references.items():
        if wanted.dataset is not None:
            dataset = _dataset(workspace, name, wanted.dataset)
            arguments += [f"--{name}", _dataset_input(dataset, name, wanted)]
        else:
            arguments += [f"--{name}", _variable(name)]
            references[name] = _reference(workspace, name, wanted)
    if former is not None:
        name = experiment.resume_state.data_reference_name or _RESUME_REFERENCE
        arguments += [_RESUME_ARGUMENT, _variable(name)]
        references[name] = _former_outputs(workspace, former, experiment.resume_state)
    return RunData(tuple(arguments), references)


def fingerprints(target: WorkspaceTarget, experiment: ExperimentSettings) -> dict[str, str]:
    """What the data of the settings is now, where they do not say it: contents of local files, latest versions.

    The workspace is asked for data sets only.

    Raises:
        TrainingError: a data set is not there.
    """
    found = {}
    for name, wanted in experiment.data_references.items():
        if wanted.local_path is not None:
            found[name] = content_hash(Path(wanted.local_path))
        elif wanted.dataset is not None:
            found[name] = str(_dataset(open_workspace(target), name, wanted.dataset).version)
    return found


def _variable(name: str) -> str:
    """As ``str(azureml.data.data_reference.DataReference)``: the compute puts the path in its place."""
    return f"$AZUREML_DATAREFERENCE_{name}"


def _reference(workspace: Workspace, name: str, wanted: DataReferenceSettings) -> DataReferenceConfiguration:
    from azureml.core.runconfig import DataReferenceConfiguration

    path = wanted.path_on_data_store
    if wanted.local_path is not None:
        path = _uploaded(workspace.get_default_datastore(), name, Path(wanted.local_path))
    return DataReferenceConfiguration(
        datastore_name=wanted.data_store_name or workspace.get_default_datastore().name,
        path_on_datastore=path,
        mode=wanted.mode,
        path_on_compute=wanted.path_on_compute,
        overwrite=wanted.overwrite,
    )


def _uploaded(datastore: Datastore, name: str, local: Path) -> str:
    """The path of local data in the datastore. It says the content, so that what is there already stays as it is."""
    from azureml.core import Dataset

    place = f"data_references/{name}/{content_hash(local)}"
    report(f"uploading {local}")
    with explained(TrainingError, f"upload {local}", f"Check experiment.data_references.{name}.local_path."):
        if local.is_dir():
            Dataset.File.upload_directory(str(local), (datastore, place), overwrite=False, show_progress=False)
            return place
        with tempfile.TemporaryDirectory() as directory:
            Path(directory, local.name).write_bytes(local.read_bytes())
            Dataset.File.upload_directory(directory, (datastore, place), overwrite=False, show_progress=False)
    return f"{place}/{local.name}"


def content_hash(local: Path) -> str:
    """A digest of the names and contents of all files of a directory, or of the one file."""
    files = content_of(local) if local.is_dir() else {local.name: hashlib.sha256(local.read_bytes()).hexdigest()}
    return cache_key("local data", files=files)


def _dataset(workspace: Workspace, name: str, wanted: DatasetSettings) -> FileDataset | TabularDataset:
    from azureml.core import Dataset

    next_step = f"Check experiment.data_references.{name}.dataset, or register the data set."
    with explained(TrainingError, f"get data set '{wanted.name}'", next_step):
        return Dataset.get_by_name(workspace, wanted.name, wanted.version or "latest")


def _dataset_input(
    dataset: FileDataset | TabularDataset, name: str, wanted: DataReferenceSettings
) -> DatasetConsumptionConfig:
    from azureml.data import TabularDataset

    named = dataset.as_named_input(name)
    if isinstance(dataset, TabularDataset):
        return named
    if wanted.mode == "mount":
        return named.as_mount(wanted.path_on_compute)
    return named.as_download(wanted.path_on_compute)


def _former_outputs(workspace: Workspace, former: Run, wanted: ResumeStateSettings) -> DataReferenceConfiguration:
    """The outputs of a former run, copied to the default datastore: what a run has kept never changes."""
    from azureml.core import Dataset
    from azureml.core.runconfig import DataReferenceConfiguration

    datastore, place = workspace.get_default_datastore(), f"resume_state/{former.id}"
    report(f"handing on the outputs of {former.id}")
    with (
        explained(TrainingError, f"hand on the outputs of run '{former.id}'", "Look at them in the Azure ML studio."),
        tempfile.TemporaryDirectory() as directory,
    ):
        former.download_files(prefix=OUTPUTS, output_directory=directory)
        Dataset.File.upload_directory(
            str(Path(directory, OUTPUTS)), (datastore, place), overwrite=False, show_progress=False
        )
    binding = wanted.binding
    return DataReferenceConfiguration(
        datastore_name=datastore.name,
        path_on_datastore=place,
        mode=binding.mode,
        path_on_compute=binding.path_on_compute,
        overwrite=binding.overwrite,
    )
