"""The data of a run: what its configuration asks for, put where its script finds it, and what it leaves, taken back.

On Azure, a mount is the datastore itself. Here, a data reference that is mounted is a link to the datastore's folder;
a data set that is mounted is a copy, so that a script cannot change what it reads.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

from pydantic import Field

from emulator.errors import bad_request, not_emulated
from emulator.execution.section import Section
from emulator.state import Record

Mode = Literal["direct", "mount", "download", "upload"]


class DatasetIdentifier(Section):
    """``azureml.core.runconfig.Dataset``: by the id of a saved one, or by name and version of a registered one."""

    id: str | None = None
    name: str | None = None
    version: int | str | None = None


class DataPath(Section):
    """``azureml.data.datapath.DataPath``."""

    datastore_name: str | None = None
    relative_path: str | None = None


class DataLocation(Section):
    dataset: DatasetIdentifier | None = None
    data_path: DataPath | None = None
    uri: Record | None = None


class DataInput(Section):
    """``azureml.core.runconfig.Data``: a data set as the input of a run."""

    data_location: DataLocation
    mechanism: str
    environment_variable_name: str
    path_on_compute: str | None = None


class DataReference(Section):
    """``azureml.core.runconfig.DataReferenceConfiguration``: a path of a datastore."""

    data_store_name: str | None = None
    path_on_data_store: str | None = None
    mode: str = "mount"
    path_on_compute: str | None = None


class OutputData(Section):
    """``azureml.core.runconfig.OutputData``: a folder that is written to a datastore when the run ends."""

    output_location: DataLocation
    mechanism: str = "upload"
    additional_options: Record = Field(default_factory=dict)


@dataclass(frozen=True)
class Files:
    """Files of a datastore. ``single``: they are one that was named, and not all of a folder or a pattern."""

    by_path: Mapping[PurePosixPath, Path]
    single: bool


@dataclass
class StagedData:
    """What became of a run's data.

    Attributes:
        variables: to be set for its processes.
        arguments: what the SDK has written into its arguments, and what that is now.
        uploads: folder of this machine, and the folder of the datastore that it goes to when the run has ended.
    """

    variables: dict[str, str] = field(default_factory=dict)
    arguments: dict[str, str] = field(default_factory=dict)
    uploads: list[tuple[Path, Path]] = field(default_factory=list)

    def resolved(self, argument: str) -> str:
        """An argument, or a command line, with the places of the data in it."""
        for placeholder in sorted(self.arguments, key=len, reverse=True):  # none is the beginning of another then
            argument = argument.replace(placeholder, self.arguments[placeholder])
        return argument


def files_at(root: Path, path: str) -> Files:
    """The files of a datastore that a path means: a file, all of a folder, or a pattern's.

    Args:
        root: the folder of the datastore.
        path: in it; may have ``*``, ``**`` and ``?``.
    """
    parts = [part for part in PurePosixPath(path.strip("/")).parts if part != "."]
    fixed = next((number for number, part in enumerate(parts) if set(part) & set("*?[")), len(parts))
    base = root.joinpath(*parts[:fixed])
    if fixed == len(parts) and base.is_file():
        return Files({PurePosixPath(base.name): base}, single=True)
    # pathlib's ** finds folders only: the files in them are meant.
    pattern = "/".join(parts[fixed:]) or "**"
    found = base.glob(pattern + "/*" if pattern.endswith("**") else pattern)
    return Files({PurePosixPath(file.relative_to(base)): file for file in sorted(found) if file.is_file()}, False)


def copy_files(files: Files, target: Path) -> Path:
    """Copy files into a folder; returns the folder, or the file when it is a single one."""
    target.mkdir(parents=True, exist_ok=True)
    for path, source in files.by_path.items():
        destination = target / path
        destination.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, destination)
    return target / next(iter(files.by_path)) if files.single else target


def input_mode(mechanism: str, known: tuple[Mode, ...], what: str) -> Mode:
    """
    Raises:
        ServiceError: 501 for a mode that the emulator does not do.
    """
    found = next((mode for mode in known if mode == mechanism.lower()), None)
    if found is None:
        raise not_emulated(f"mode {mechanism} of {what}, only {', '.join(known)}")
    return found


def place(node: Path, default: Path, path_on_compute: str | None) -> Path:
    """Where data lies on a node.

    Raises:
        ServiceError: 400 for a path outside of the run's working directory: nodes share this machine.
    """
    if not path_on_compute:
        return default
    path = PurePosixPath(path_on_compute)
    if path.is_absolute() or ".." in path.parts:
        raise bad_request(
            f"path_on_compute is '{path_on_compute}': the emulator's nodes share one machine, so that it must lie in "
            "the run's working directory. Use a relative path."
        )
    return node / path


def stage_references(
    references: Mapping[str, DataReference], node: Path, folder: Path, datastore: Callable[[str | None], Path]
) -> StagedData:
    """Put data references where the script finds them, in ``AZUREML_DATAREFERENCE_<name>``.

    Args:
        references: by name.
        node: working directory of the node.
        folder: beside it, for what has no place of its own.
        datastore: the folder of a datastore, by its name.
    """
    staged = StagedData()
    for name, reference in references.items():
        mode = input_mode(reference.mode, ("mount", "download", "upload"), f"data reference '{name}'")
        root, path = datastore(reference.data_store_name), (reference.path_on_data_store or "").strip("/")
        local = place(node, folder / name, reference.path_on_compute)
        local.parent.mkdir(parents=True, exist_ok=True)
        value = local
        if mode == "mount":
            if not (root / path).is_file():
                (root / path).mkdir(parents=True, exist_ok=True)
            local.symlink_to(root / path)
        elif mode == "download":
            value = copy_files(files_at(root, path), local)
        else:
            local.mkdir(exist_ok=True)
            staged.uploads.append((local, root / path))
        variable = f"AZUREML_DATAREFERENCE_{name}"
        staged.variables[variable] = str(value)
        staged.arguments |= {f"${variable}": str(value), f"${{{variable}}}": str(value)}
    return staged


def stage_inputs(
    inputs: Mapping[str, DataInput], node: Path, folder: Path, found: Mapping[str, tuple[str, Files]]
) -> StagedData:
    """Put data sets where ``run.input_datasets`` finds them.

    Args:
        inputs: by name.
        node: working directory of the node.
        folder: beside it, for what has no place of its own.
        found: id and files of each input's data set, by the input's name.
    """
    staged, modes = StagedData(), []
    for name, data in inputs.items():
        mode = input_mode(data.mechanism, ("direct", "mount", "download"), f"input '{name}'")
        value, files = found[name]
        if mode != "direct":
            value = str(copy_files(files, place(node, folder / name, data.path_on_compute)))
        variable = data.environment_variable_name
        modes.append(f"{variable}:{mode}")
        staged.variables[variable] = value
        staged.arguments[f"DatasetConsumptionConfig:{name}"] = value
    if modes:
        staged.variables["AZUREML_DATASET_ENVIRONMENT_VARS"] = ",".join(modes)
    return staged


def stage_outputs(
    outputs: Mapping[str, OutputData], run_id: str, node: Path, folder: Path, datastore: Callable[[str | None], Path]
) -> StagedData:
    """Make the folders that are written to datastores when the run ends.

    Args:
        outputs: by name.
        run_id: for the ``{run-id}`` of a destination.
        node: working directory of the node.
        folder: beside it, for what has no place of its own.
        datastore: the folder of a datastore, by its name.
    """
    staged = StagedData()
    for name, output in outputs.items():
        input_mode(output.mechanism, ("mount", "upload"), f"output '{name}'")
        options = output.additional_options
        if (options.get("registrationOptions") or {}).get("name"):
            raise not_emulated(f"registering output '{name}' as a data set when the run ends")
        where = output.output_location.data_path or DataPath()
        path = where.relative_path or "dataset/{run-id}/{output-name}"
        path = path.replace("{run-id}", run_id).replace("{output-name}", name)
        local = place(node, folder / name, options.get("pathOnCompute"))
        local.mkdir(parents=True, exist_ok=True)
        staged.uploads.append((local, datastore(where.datastore_name) / path.strip("/")))
        staged.variables[name] = str(local)
        staged.arguments[f"DatasetOutputConfig:{name}"] = str(local)
    if outputs:
        staged.variables["AZUREML_DATASET_FILE_OUTPUTS"] = ";".join(outputs)
    return staged


def joined(parts: list[StagedData]) -> StagedData:
    whole = StagedData()
    for part in parts:
        whole.variables |= part.variables
        whole.arguments |= part.arguments
        whole.uploads += part.uploads
    return whole
