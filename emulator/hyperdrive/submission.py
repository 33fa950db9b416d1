"""What a user submits: the configuration of a tuning, and which of it is carried out here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from emulator.errors import bad_request, not_emulated
from emulator.hyperdrive.policies import Policy, parse_policy
from emulator.hyperdrive.sampling import Goal, Hyperparameters, Space, parse_space
from emulator.state import Record

LONGEST_MINUTES = 10080


class PrimaryMetric(BaseModel):
    """``primary_metric_config``."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str = Field(min_length=1)
    goal: Literal["maximize", "minimize"]


class TuningConfiguration(BaseModel):
    """``CreateExperimentDto``, the config.json of ``azureml.train.hyperdrive.HyperDriveConfig``, as it is kept."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    generator_config: Record
    policy_config: Record
    primary_metric_config: PrimaryMetric
    platform_config: Record
    max_total_jobs: int = Field(ge=1, le=1000)
    max_concurrent_jobs: int = Field(ge=1)
    max_duration_minutes: float = Field(gt=0)

    @property
    def goal(self) -> Goal:
        return self.primary_metric_config.goal

    @property
    def policy(self) -> Policy | None:
        return parse_policy(self.policy_config)

    @property
    def definition(self) -> Record:
        """The run configuration that all children share."""
        overrides: Record = self.platform_config["Definition"]["Overrides"]
        return overrides

    @property
    def seconds(self) -> float:
        """How long the tuning may take; the service's limit is a week."""
        return min(self.max_duration_minutes, LONGEST_MINUTES) * 60

    def space(self, run_id: str) -> Space:
        return parse_space(self.generator_config, run_id)


def parse_submission(body: Record, run_id: str) -> TuningConfiguration:
    """The config.json of a submission.

    Raises:
        ServiceError: 400 when it is not one, or breaks a rule of the service; 501 for what the emulator does not do.
    """
    for name in ("resume_from", "resume_child_runs"):
        if body.get(name):
            raise not_emulated(f"{name} of HyperDrive (going on from earlier tunings)")
    if body.get("platform") != "AML":
        raise not_emulated(f"platform {body.get('platform')} of HyperDrive (tuning of pipelines)")
    try:
        configuration = TuningConfiguration.model_validate(body)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise bad_request(f"The HyperDrive configuration cannot be read: {problems}.") from error
    if not isinstance(configuration.platform_config.get("Definition", {}).get("Overrides"), Mapping):
        raise bad_request("The HyperDrive configuration has no run configuration in platform_config.Definition.")
    if configuration.max_concurrent_jobs > configuration.max_total_jobs:
        raise bad_request(
            f"max_concurrent_jobs is {configuration.max_concurrent_jobs}: it must be at most max_total_jobs "
            f"({configuration.max_total_jobs})."
        )
    space = configuration.space(run_id)
    if space.method == "bayesian" and configuration.policy is not None:
        raise bad_request("Bayesian sampling does not support early termination policies: use NoTerminationPolicy.")
    return configuration


def child_definition(definition: Record, hyperparameters: Hyperparameters) -> Record:
    """The run configuration of one child: the shared one with its hyperparameters as ``--name value`` arguments."""
    arguments = list(definition.get("arguments") or ())
    for name, value in hyperparameters.items():
        arguments += [name if name.startswith("-") else f"--{name}", _as_argument(value)]
    return {**definition, "arguments": arguments}


def _as_argument(value: Any) -> str:
    """Text with nothing lost: a script that reads a float gets the one that was drawn."""
    if isinstance(value, float) and math.isfinite(value):
        return repr(value)
    return str(value)
