"""What this version does with the settings: an option that it cannot carry out stops the run before anything starts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from settings import Problem, Settings, SettingsError, load
from settings.loading import names_a_secret
from settings.problems import HIDDEN

_LATER = "is not carried out by this version"


def load_settings(path: Path | None, overrides: Sequence[str]) -> Settings:
    """The settings, all of which this version can carry out.

    Raises:
        SettingsError: with every mistake at once, or with every option that would have no effect.
    """
    if shown := tuple(secrets_shown(overrides)):
        raise SettingsError(shown)
    settings = load(path, overrides)
    if problems := tuple(beyond_scope(settings)):
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
    experiment, deployment = settings.experiment, settings.deployment
    kind = settings.compute_target.compute_target_to_use_for_training
    if kind != "amlcompute":
        yield Problem(
            "compute_target.compute_target_to_use_for_training", f'"{kind}"', f"{_LATER}: it trains on amlcompute"
        )
    if experiment.distributed_training.backend_config is not None:
        backend = experiment.distributed_training.backend_config
        path = "experiment.distributed_training.backend_config"
        yield Problem(path, f'"{backend}"', f"{_LATER}: it trains in one process on one node")
    switched_on = {
        "experiment.resume_state.resume_from_state": experiment.resume_state.resume_from_state,
        "experiment.use_custom_environment": experiment.use_custom_environment,
        "deployment.image.use_custom_environment": deployment.image.use_custom_environment,
        "deployment.image.docker.use_gpu": deployment.image.docker.use_gpu,
    }
    for path, on in switched_on.items():
        if on:
            yield Problem(path, "true", f"{_LATER}; set it to false")
    given = {
        "experiment.data_references": experiment.data_references,
        "experiment.source_directory_datastore": experiment.source_directory_datastore,
        "deployment.model.datasets": deployment.model.datasets,
        "deployment.image.docker.extra_docker_file_steps": deployment.image.docker.extra_docker_file_steps,
    }
    for path, value in given.items():
        if value:
            yield Problem(path, None, f"{_LATER}; leave it out")
    if deployment.image.runtime == "spark-py":
        yield Problem("deployment.image.runtime", '"spark-py"', f"{_LATER}: it serves with python")


def without_effect(settings: Settings) -> Iterator[str]:
    """Sentences about options whose meaning has moved on, so that nobody waits for their effect."""
    framework = settings.experiment.framework
    for name in ("chainer", "pytorch", "sklearn", "tensorflow", "other"):
        if getattr(framework, name).enable_optimized_mode:
            yield (
                f"experiment.framework.{name}._enable_optimized_mode has no effect any more: it belonged to the "
                "Estimator classes, which ended in 2020."
            )
