"""The values that flow from task to task and into the report: small, frozen, without any SDK object.

A task that gets one looks its SDK object up by id. A training script may log NaN or infinite metrics. JSON has no such
numbers, so they are written as the strings "NaN", "Infinity" and "-Infinity", and read back as numbers.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

Outcome = Literal["Promoted", "NotPromoted", "Compared", "RolledBack", "Failed"]
Verdict = Literal["better", "equal", "worse", "first"]


def _in_utc(moment: datetime) -> datetime:
    return moment.astimezone(timezone.utc)


class Value(BaseModel):
    """What all values have in common: frozen, and an unknown field is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class ReadyWorkspace(Value):
    """A workspace that is there; ``cloud`` is "azure" or "emulator"."""

    name: str
    cloud: str
    created: bool = Field(description="whether this run has made it")


class ReadyCompute(Value):
    """A compute target that is there and as the settings want it."""

    name: str
    kind: str = Field(description="AmlCompute or AKS")
    created: bool
    changes: tuple[str, ...] = Field(description="what this run has changed, as sentences")
    cluster_purpose: Literal["DEV_TEST", "FAST_PROD"] | None = None


class RegisteredEnvironment(Value):
    """A version of an environment in the workspace (``azureml.core.Environment``)."""

    name: str
    version: str


class Scoring(Value):
    """How a model is served: the scoring script in its directory, and the environment that it runs in."""

    source_directory: str
    entry_script: str
    environment: RegisteredEnvironment


class ModelVersion(Value):
    """A registered model that a service serves, with the metrics of the run that made it."""

    name: str
    version: int
    run_id: str
    experiment: str
    metrics: dict[str, float]


class TrainedRun(Value):
    """A completed training run: the candidate."""

    experiment: str
    run_id: str
    metrics: dict[str, float]
    portal_url: str
    environment_name: str
    environment_version: str
    compute_target: str


class MetricComparison(Value):
    """One listed metric of the candidate beside production's; ``first`` when production serves no model yet."""

    name: str
    larger_is_better: bool
    candidate: float
    production: float | None
    verdict: Verdict


class Comparison(Value):
    """What the gate decided, and why, in sentences with the numbers."""

    promote: bool
    production: ModelVersion | None
    candidate: TrainedRun
    table: tuple[MetricComparison, ...]
    reasons: tuple[str, ...]


class RegisteredModel(Value):
    """A version in the workspace's model registry; ``model_id`` is "name:version", as the SDK's Model.id."""

    name: str
    version: int
    model_id: str
    run_id: str


class LatencyProfile(Value):
    """Percentiles of the time to answer, in milliseconds; None where the service did not measure it."""

    p50_ms: float | None = None
    p90_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None


class Resources(Value):
    """What one replica of a service gets."""

    cpu: float = Field(description="CPU cores")
    memory_gb: float = Field(description="memory in GB")


class ModelProfile(Resources):
    """What Model.profile recommends for one replica, and what it measured."""

    name: str
    latency: LatencyProfile
    success_rate: float = Field(description="answered requests, in percent")
    requests_per_second: float


class Endpoint(Value):
    """A deployed web service and the model versions that it serves."""

    stage: Literal["dev", "test", "prod"]
    service: str
    compute_type: Literal["ACI", "AKS"]
    cluster_purpose: Literal["DEV_TEST", "FAST_PROD"] | None
    state: str
    scoring_uri: str
    swagger_uri: str | None
    auth_enabled: bool
    model_ids: tuple[str, ...]


class TestResult(Value):
    """One test of an endpoint; ``detail`` says in a sentence what was seen."""

    __test__ = False  # pytest collects classes by this name

    name: str
    passed: bool
    detail: str
    milliseconds: float


class StageReport(Value):
    """A stage that the model climbed: what was deployed, how it was tested, how long that took."""

    stage: Literal["dev", "test", "prod"]
    service: str
    compute_type: Literal["ACI", "AKS"]
    cluster_purpose: Literal["DEV_TEST", "FAST_PROD"] | None = Field(description="of the AKS cluster; None for ACI")
    state: str
    scoring_uri: str
    tests: tuple[TestResult, ...]
    seconds: float


class ReportedWorkspace(Value):
    """Where the run took place; ``cloud`` is the cloud's name, or "emulator"."""

    name: str
    cloud: str


class ReportedRun(Value):
    """The training run, as report.json shows it."""

    experiment: str
    id: str
    metrics: dict[str, float]
    portal_url: str

    @classmethod
    def of(cls, run: TrainedRun) -> ReportedRun:
        return cls(experiment=run.experiment, id=run.run_id, metrics=run.metrics, portal_url=run.portal_url)


class ReportedComparison(Value):
    """The gate's decision, as report.json shows it: the outcome says already whether the model was promoted."""

    production: ModelVersion | None
    candidate: TrainedRun
    table: tuple[MetricComparison, ...]
    reasons: tuple[str, ...]

    @classmethod
    def of(cls, comparison: Comparison) -> ReportedComparison:
        return cls(**{name: getattr(comparison, name) for name in cls.model_fields})


class ReportedModel(Value):
    """The registered model, as report.json shows it."""

    name: str
    version: int

    @classmethod
    def of(cls, model: RegisteredModel) -> ReportedModel:
        return cls(name=model.name, version=model.version)


class ReportedProfile(Value):
    """The resources of one replica, as report.json shows them: CPU cores, GB, milliseconds."""

    cpu: float
    memory_gb: float
    latency: LatencyProfile

    @classmethod
    def of(cls, profile: ModelProfile) -> ReportedProfile:
        return cls(cpu=profile.cpu, memory_gb=profile.memory_gb, latency=profile.latency)


class ReportedError(Value):
    """Why a run ended Failed or RolledBack, what to do next, and the end of the log that tells."""

    message: str
    next_step: str
    log_tail: str | None = None


class RunReport(Value):
    """report.json: what one run of the flow did. What the run did not reach is None or empty."""

    outcome: Outcome
    started: Annotated[AwareDatetime, AfterValidator(_in_utc)] = Field(description="ISO 8601, in UTC")
    settings: str = Field(description="path of the settings file")
    workspace: ReportedWorkspace
    run: ReportedRun | None = None
    comparison: ReportedComparison | None = None
    model: ReportedModel | None = None
    profile: ReportedProfile | None = None
    stages: tuple[StageReport, ...] = ()
    timings: dict[str, float] = Field(description="seconds by step; steps may have run at the same time")
    total_seconds: float
    error: ReportedError | None = None
    prefect_url: str | None = Field(default=None, description="the flow run in Prefect's UI")
    production_url: str | None = Field(default=None, description="scoring address of production after this run")
    curl: str | None = Field(default=None, description="a shell command that scores the sample; reads the key itself")


class Check(Value):
    """One thing that a run on Azure needs: whether it is there, what was found, and what to do when it is missing."""

    name: str
    result: Literal["passed", "missing", "unknown"]
    detail: str
    next_step: str | None = None


class PlannedStep(Value):
    """What a step of the flow would do if it ran now, and what that would use of what costs money."""

    step: str
    action: Literal["keep", "create", "change", "delete", "run", "fail"]
    detail: str
    cost: str | None = None
