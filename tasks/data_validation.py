"""The data gate: read the data, judge it by the settings' rules, and give it a fingerprint.

Azure: https://learn.microsoft.com/azure/machine-learning/v1/how-to-create-register-datasets; SDK:
``azureml.core.Dataset``.
"""

from __future__ import annotations

import difflib
import hashlib
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from settings.data import DataSettings, DataSource
from settings.workspace import WorkspaceTarget
from tasks.data_drift import drift, drift_failures
from tasks.data_quality import broken_rules
from tasks.errors import DataError
from tasks.operation import azure_operation, explained
from tasks.progress import report
from tasks.values import ColumnDrift, DataReport
from tasks.workspace import open_workspace

if TYPE_CHECKING:
    from azureml.core import Workspace
    from azureml.data import FileDataset, TabularDataset
    from pandas import DataFrame

# Of the data sets of a workspace, in the error about one that is not there: those with the nearest names.
_NAMES_TOLD = 10


def validate_data(target: WorkspaceTarget, settings: DataSettings) -> DataReport:
    """Judge the data by every rule of the settings, and by its drift from the reference.

    Raises:
        DataError: the data or its reference cannot be read. Data that breaks a rule is no exception but a value.
    """
    # pandas takes digits for numbers, also those of a column that is said to be text, as a postcode is.
    texts = [name for name, column in settings.columns.items() if column.type == "text"]
    frame, source = read_data(target, settings.source, texts)
    failures = broken_rules(frame, settings)
    drifts: tuple[ColumnDrift, ...] = ()
    reference, wanted = None, settings.drift
    if wanted is not None:
        compared, reference = read_data(target, wanted.reference, texts)
        drifts = drift(frame, compared, wanted)
        failures += tuple(drift_failures(frame, drifts, wanted))
    report(f"{len(frame)} rows, {f'{len(failures)} rules broken' if failures else 'sound'}")
    return DataReport(
        source=source,
        rows=len(frame),
        columns=len(frame.columns),
        fingerprint=fingerprint(frame),
        failures=failures,
        reference=reference,
        drift=drifts,
        max_psi=wanted and wanted.max_psi,
        max_ks=wanted and wanted.max_ks,
    )


def fingerprint(frame: DataFrame) -> str:
    """SHA-256 of the content: names and values, in their order. The same for a CSV file and its Parquet copy."""
    import pandas as pd

    digest = hashlib.sha256()
    for name in frame.columns:
        digest.update(f"{name}\0".encode())
        digest.update(pd.util.hash_pandas_object(frame[name], index=False).to_numpy().tobytes())
    return digest.hexdigest()


def read_data(target: WorkspaceTarget, source: DataSource, texts: Sequence[str]) -> tuple[DataFrame, str]:
    """The data, and where it came from in words: a dataset with the version that was found.

    Raises:
        DataError: there is no such file or dataset, or it is no table.
    """
    if source.path is not None:
        return read_file(Path(source.path), texts), str(source)
    return _read_dataset(target, str(source.dataset), source.version, texts)


def read_file(path: Path, texts: Sequence[str] = ()) -> DataFrame:
    """The table in a Parquet or CSV file; ``texts`` are the columns of a CSV file that stay as they are written.

    Raises:
        DataError: there is no such file, or it is no table.
    """
    try:
        return _parsed(path, f"data file {path}", texts)
    except FileNotFoundError as error:
        raise DataError(
            f"The data file {path} is not there.", "Correct data.source.path or data.drift.reference.path."
        ) from error


def _parsed(path: Path, what: str, texts: Sequence[str]) -> DataFrame:
    import pandas as pd

    try:
        if path.suffix == ".parquet":
            return pd.read_parquet(path)
        return pd.read_csv(path, dtype=dict.fromkeys(texts, str), float_precision="round_trip", low_memory=False)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:  # pandas' and pyarrow's own errors about content are ValueErrors
        reason = " ".join(str(error).split())
        raise DataError(
            f"The {what} cannot be read: {reason}.", "Give CSV in UTF-8 with a line of names, or Parquet."
        ) from error


def _read_dataset(
    target: WorkspaceTarget, name: str, version: int | None, texts: Sequence[str]
) -> tuple[DataFrame, str]:
    what = f"read data set '{name}'" + (f" version {version}" if version else "")
    with explained(DataError, what, "Correct data.source or data.drift.reference; look at it in the Azure ML studio."):
        from azureml.data import TabularDataset

        found = _registered(open_workspace(target), name, version)
        frame = found.to_pandas_dataframe() if isinstance(found, TabularDataset) else _read_files(found, texts)
        return frame, f"dataset {name}:{found.version}"


def _registered(workspace: Workspace, name: str, version: int | None) -> FileDataset | TabularDataset:
    """The data set; where there is none, an error that says what there is."""
    from azureml.core import Dataset
    from azureml.exceptions import UserErrorException

    try:
        return Dataset.get_by_name(workspace, name, version=version or "latest")
    except UserErrorException as error:  # of one that is not there; all else is an error of another class
        names = sorted(each.name for each in Dataset.get_all(workspace).registrations)
        if name in names:
            latest = Dataset.get_by_name(workspace, name).version
            raise DataError(
                f"Data set '{name}' has no version {version}.",
                f"Its latest version is {latest}: correct data.source or data.drift.reference.",
            ) from error
        there = ", ".join(difflib.get_close_matches(name, names, n=_NAMES_TOLD, cutoff=0)) or "none"
        raise DataError(
            f"Workspace '{workspace.name}' has no data set '{name}'.",
            f"It has {there}{', ...' if len(names) > _NAMES_TOLD else ''}: correct data.source or "
            "data.drift.reference, or register the data set.",
        ) from error


def _read_files(dataset: FileDataset, texts: Sequence[str]) -> DataFrame:
    """The tables in all files of a data set, one below the other in the order of their paths."""
    import pandas as pd

    with tempfile.TemporaryDirectory() as directory:
        files = sorted(map(Path, dataset.download(directory)))
        tables = [_parsed(file, f"file {file.name} of data set '{dataset.name}'", texts) for file in files]
    return pd.concat(tables, ignore_index=True)


validate_data_task = azure_operation("data")(validate_data)
