"""What this version does with the settings: an option that it cannot carry out stops the run before anything starts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from settings import Problem, Settings, SettingsError, load
from settings.files import file_problems
from settings.loading import names_a_secret
from settings.problems import HIDDEN

_LATER = "is not carried out by this version"


def load_settings(path: Path | None, overrides: Sequence[str]) -> Settings:
    """The settings, all of which this version can carry out, with the files that they name.

    Raises:
        SettingsError: with every mistake at once, or with every file that is missing and option without effect.
    """
    if shown := tuple(secrets_shown(overrides)):
        raise SettingsError(shown)
    settings = load(path, overrides)
    if problems := (*file_problems(settings), *beyond_scope(settings)):
        raise SettingsError(problems)
    return settings


def secrets_shown(overrides: Sequence[str]) -> Iterator[Problem]:
    """Secrets among the overrides: those are parameters of the flow, which Prefect keeps and shows in clear."""
    for override in overrides:
        key, _, value = override.partition("=")
        if value and value != "null" and not value.startswith("${") and names_a_secret(key.rpartition(".")[2]):
            rule = "a secret in an override would be shown in Prefect's UI: write ${NAME}, and set that variable"
            yield Problem(key, HIDDEN, rule)


def beyond_scope(settings: Settings) -> Iterator[Problem]:
    """The options that are set and that this version would have to ignore."""
    deployment = settings.deployment
    if deployment.image.docker.use_gpu:
        yield Problem("deployment.image.docker.use_gpu", "true", f"{_LATER}; set it to false")
    given = {
        "deployment.model.datasets": deployment.model.datasets,
        "deployment.image.docker.extra_docker_file_steps": deployment.image.docker.extra_docker_file_steps,
    }
    for path, value in given.items():
        if value:
            yield Problem(path, None, f"{_LATER}; leave it out")
    if deployment.image.runtime == "spark-py":
        yield Problem("deployment.image.runtime", '"spark-py"', f"{_LATER}: it serves with python")


def without_effect(settings: Settings) -> Iterator[str]:
    """Sentences about options that have no effect beside others, or no more, so that nobody waits for it."""
    experiment = settings.experiment
    for name in ("chainer", "pytorch", "sklearn", "tensorflow", "other"):
        if getattr(experiment.framework, name).enable_optimized_mode:
            yield (
                f"experiment.framework.{name}._enable_optimized_mode has no effect any more: it belonged to the "
                "Estimator classes, which ended in 2020."
            )
    if not experiment.history.snapshot_project:
        yield "experiment.history.snapshotProject has no effect: the snapshot is how the code reaches the compute."
    chosen = experiment.framework.name
    installed = next((name for name in ("user_managed", "use_custom_environment") if getattr(experiment, name)), None)
    if getattr(experiment.framework, chosen).framework_version is None:
        return
    if installed is not None:
        yield f"experiment.framework.{chosen}.framework_version has no effect with {installed}: nothing is installed."
    elif chosen == "other":
        yield "experiment.framework.other.framework_version has no effect: `other` names no package."
