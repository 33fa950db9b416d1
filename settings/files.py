"""The files that the settings name: what of them is not there or cannot be read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from settings.judged_data import judged_data_problems
from settings.problems import Problem

if TYPE_CHECKING:
    from settings.experiment import ExperimentSettings
    from settings.loading import Settings


def file_problems(settings: Settings, root: Path = Path()) -> Iterator[Problem]:
    """Every file of the training that is not there or does not parse.

    Args:
        root: where relative paths start: the repository.
    """
    yield from _source_problems(settings.experiment, root)
    for name, reference in settings.experiment.data_references.items():
        if reference.local_path is not None and not (root / reference.local_path).exists():
            yield _missing(f"experiment.data_references.{name}.local_path", root / reference.local_path)
    yield from judged_data_problems(settings, root)
    remote = settings.compute_target.training.remotecompute
    if settings.compute_target.compute_target_to_use_for_training == "remotecompute" and remote.use_ssh_auth:
        key = root / Path(remote.private_key_file or "").expanduser()
        if not key.is_file():
            yield _missing("compute_target.training.remotecompute.private_key_file", key)


def _source_problems(experiment: ExperimentSettings, root: Path) -> Iterator[Problem]:
    directory = root / experiment.source_directory
    if not directory.is_dir():
        yield Problem("experiment.source_directory", f'"{experiment.source_directory}"', "there is no such directory")
        return
    given = experiment.dependencies
    for path, name in (
        ("experiment.entry_script", experiment.entry_script),
        ("experiment.dependencies.pip_requirements_file", given.pip_requirements_file),
        ("experiment.dependencies.conda_dependencies_file", given.conda_dependencies_file),
    ):
        if name is not None and not (directory / name).is_file():
            yield _missing(path, directory / name)
        elif name is not None and name == given.conda_dependencies_file:
            rule = conda_mistake((directory / name).read_bytes())
            if rule is not None:
                yield Problem(path, f'"{name}"', rule)


def conda_mistake(content: bytes) -> str | None:
    """What is wrong with a conda environment file; None when it has dependencies that can be read.

    https://docs.conda.io/projects/conda/en/latest/user-guide/tasks/manage-environments.html
    """
    import yaml

    try:
        tree = yaml.safe_load(content)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        return f"is not YAML: {error.problem}" + (f" at line {mark.line + 1}" if mark else "")
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        return f"is not YAML: {' '.join(str(error).split())}"
    dependencies = tree.get("dependencies") if isinstance(tree, dict) else None
    if not isinstance(dependencies, list):
        return "is no conda file: it has no list of `dependencies`"
    for dependency in dependencies:
        pip = dependency.get("pip") if isinstance(dependency, dict) and len(dependency) == 1 else None
        if not isinstance(dependency, str) and not (
            isinstance(pip, list) and all(isinstance(each, str) for each in pip)
        ):
            return f"is no conda file: {dependency!r} among its `dependencies` is neither text nor a list under `pip`"
    return None


def _missing(option: str, path: Path) -> Problem:
    return Problem(option, f'"{path}"', "there is no such file")
