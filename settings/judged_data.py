"""Whether the data that the gate judges is what the training is given: the script alone knows what it reads, and the
settings know what they hand to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from settings.problems import Problem

if TYPE_CHECKING:
    from settings.data import DataSource
    from settings.experiment import ExperimentSettings
    from settings.loading import Settings

_TABLES = (".csv", ".parquet")


def judged_data_problems(settings: Settings, root: Path = Path()) -> Iterator[Problem]:
    """Where the training is given another file, or another version, in the place of the data that is judged.

    Args:
        root: where relative paths start: the repository.
    """
    if settings.data is None or _is_given(settings.data.source, settings.experiment, root):
        return
    source, experiment = settings.data.source, settings.experiment
    if source.dataset is not None:
        for name, reference in experiment.data_references.items():
            given = reference.dataset
            if given is not None and given.name == source.dataset:
                rule = f"must be that of experiment.data_references.{name}, which is {given.version or 'the latest'}"
                yield Problem("data.source.version", str(source.version or "the latest"), rule)
        return
    for option, value in experiment.script_parameters.items():
        file = root / experiment.source_directory / str(value)
        if file.suffix in _TABLES and file.is_file():
            rule = f"must be what the training is given: experiment.script_parameters.{option} names {file}"
            yield Problem("data.source.path", f'"{source.path}"', rule)


def not_given(settings: Settings, root: Path = Path()) -> str | None:
    """A sentence where nothing in the settings hands the judged data to the training; None where something does."""
    if settings.data is None or _is_given(settings.data.source, settings.experiment, root):
        return None
    return (
        f"{settings.data.source} was judged, and neither experiment.script_parameters nor experiment.data_references "
        f"hands it to {settings.experiment.entry_script}: whether the script reads the same data is not known"
    )


def _is_given(source: DataSource, experiment: ExperimentSettings, root: Path) -> bool:
    references = experiment.data_references.values()
    if source.path is None:
        return any(
            given is not None and (given.name, given.version) == (source.dataset, source.version)
            for given in (reference.dataset for reference in references)
        )
    judged = (root / source.path).resolve()
    arguments = (str(value) for value in experiment.script_parameters.values())
    given_files = {(root / experiment.source_directory / argument).resolve() for argument in arguments}
    uploaded = {(root / reference.local_path).resolve() for reference in references if reference.local_path}
    return judged in given_files or not uploaded.isdisjoint((judged, *judged.parents))
