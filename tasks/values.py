"""The values that flow from task to task and into the report: small, frozen, without any SDK object.

A task that gets one looks its SDK object up by id. A training script may log NaN or infinite metrics. JSON has no such
numbers, so they are written as the strings "NaN", "Infinity" and "-Infinity", and read back as numbers.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

Outcome = Literal[
    "Promoted", "NotPromoted", "Compared", "DataRejected", "NotApproved", "Restored", "RolledBack", "Failed"
]
Hyperparameter = str | int | float | bool
Verdict = Literal[
    "better",
    "not significant",
    "too little",
    "equal",
    "tolerated",
    "worse",
    "misses threshold",
    "first",
]


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


class DataFailure(Value):
    """A rule that the data breaks: where, how often, and the first rows, counted from 1 below the line of names."""

    check: str = Field(description="kind of rule, e.g. range")
    column: str | None = Field(description="None for a rule about whole rows")
    rule: str = Field(description="what must hold, e.g. at least 0")
    seen: str = Field(description="what was seen instead, as a summary and never as rows of the data")
    count: int = Field(description="values or rows that break the rule")
    rows: tuple[int, ...] = ()


class ColumnDrift(Value):
    """How far a column is from the reference; ``ks`` is None unless the column is numeric in both."""

    column: str
    psi: float = Field(description="population stability index")
    ks: float | None = Field(description="Kolmogorov-Smirnov statistic, 0 to 1")
    drifted: bool


class DataReport(Value):
    """What the data gate saw: the data, its fingerprint, and every rule that it breaks."""

    source: str
    rows: int
    columns: int
    fingerprint: str = Field(description="SHA-256 of the content, in order of rows and columns")
    failures: tuple[DataFailure, ...] = ()
    reference: str | None = None
    drift: tuple[ColumnDrift, ...] = ()
    max_psi: float | None = None
    max_ks: float | None = None

    @property
    def accepted(self) -> bool:
        return not self.failures


class ReadyCompute(Value):
    """A compute target that is there and as the settings want it."""

    name: str
    kind: str = Field(description="AmlCompute or AKS")
    created: bool
    changes: tuple[str, ...] = Field(description="what this run has changed, as sentences")
    differs: tuple[str, ...] = Field(default=(), description="what is not as the settings want it, as sentences")
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


class Production(Value):
    """What production serves; ``served`` is whether there is a service, or only a tag that says so."""

    model: ModelVersion | None
    served: bool
    notes: tuple[str, ...] = ()


FLOW_RUN_TAG = "flow_run_id"
CANCELLED_BY_TAG = "cancelled_by"
"""The tag of whatever a flow run has made for itself: what is left of one that was cancelled is found by it."""


class Origin(Value):
    """For whom something is made, and whether what was made before of the same inputs may be taken instead."""

    flow_run_id: str
    fresh: bool = Field(default=False, description="take nothing that another flow run has made")
    data_fingerprint: str | None = Field(default=None, description="of the data that the data gate has judged")


class SubmittedRun(Value):
    """A training run or a tuning; ``found`` says that an earlier submission was taken, and how far that one was."""

    run_id: str
    found: Literal["completed", "going on"] | None


class TrainedRun(Value):
    """A completed training run: the candidate."""

    experiment: str
    run_id: str
    metrics: dict[str, float]
    hyperparameters: dict[str, Hyperparameter] = Field(default={}, description="of the best child of a tuning")
    portal_url: str
    environment_name: str
    environment_version: str
    compute_target: str


class Trial(Value):
    """A child of a tuning: its hyperparameters, and the best value that it has logged for the primary metric."""

    number: int
    run_id: str
    hyperparameters: dict[str, Hyperparameter]
    metric: float | None
    state: str = Field(description="as Azure says it; Canceled for a child that the policy has ended")


class Tuning(Value):
    """A tuning that has ended (``azureml.train.hyperdrive.HyperDriveRun``), with its children by their numbers."""

    run_id: str
    portal_url: str
    method: Literal["random", "grid", "bayesian"]
    policy: str | None
    metric: str
    goal: Literal["max", "min"]
    trials: tuple[Trial, ...]
    best: int = Field(description="number of the best completed child")

    @property
    def best_trial(self) -> Trial:
        return next(trial for trial in self.trials if trial.number == self.best)


class Interval(Value):
    """A confidence interval of a metric's improvement over production, in the metric's unit; above 0 is better."""

    low: float
    high: float
    confidence: float


class MetricComparison(Value):
    """One metric of the candidate beside production's; ``first`` when production serves no model yet."""

    name: str
    larger_is_better: bool
    candidate: float
    production: float | None
    verdict: Verdict
    blocks: bool = Field(default=False, description="whether this row alone keeps the candidate from production")
    slice_of: str | None = Field(default=None, description="the metric that this is one group of the test data of")
    improvement: float | None = Field(default=None, description="over production; negative for a loss")
    interval: Interval | None = None


class PredictionBin(Value):
    """Rows of the test data with neighbouring targets: their mean target and mean predictions."""

    rows: int
    target: float
    candidate: float
    production: float | None


class Comparison(Value):
    """What the gate decided, and why, in sentences with the numbers."""

    promote: bool
    production: ModelVersion | None
    candidate: TrainedRun
    table: tuple[MetricComparison, ...]
    reasons: tuple[str, ...]
    notes: tuple[str, ...] = Field(default=(), description="what else must be known about this comparison")
    scored_again: bool = Field(
        default=False, description="whether production was scored on the candidate's test data, which it had not seen"
    )
    test_data_fingerprint: str | None = None
    prediction_bins: tuple[PredictionBin, ...] = Field(default=(), description="for numeric targets, by target")


class Lineage(Value):
    """Where a model comes from, as far as its run does not say so itself."""

    started_by: str
    flow_run_id: str
    settings_sha256: str = Field(description="of the settings as they were in force, without secrets")
    data_source: str | None = None
    data_fingerprint: str | None = None


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


class PreparedProfile(Value):
    """The profile that is to be taken or made."""

    name: str
    sample_path: str = Field(description="of the sample requests on the default datastore")
    found: bool = Field(description="it was made before, and need not be waited for")


class ModelProfile(Resources):
    """What Model.profile recommends for one replica, and what it measured."""

    name: str
    latency: LatencyProfile
    success_rate: float = Field(description="answered requests, in percent")
    requests_per_second: float
    capped: tuple[str, ...] = Field((), description="what deployment.profiling has lowered, as sentences")


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


class Load(Value):
    """What was measured while a service was asked again and again; an error is any answer but 200."""

    requests: int
    seconds: float
    error_rate: float = Field(description="share of the requests, 0 to 1")
    requests_per_second: float = Field(description="answers with 200 a second")
    p50_ms: float
    p95_ms: float
    p99_ms: float
    first_error: str | None = None


class CanaryStep(Value):
    """A step of a canary release: the new version beside the former one, both asked in turn for the same time."""

    percent: int = Field(description="of the endpoint's traffic that the new version had")
    candidate: Load
    former: Load
    endpoint: Load = Field(description="asked by the address that callers use")
    exceeded: tuple[str, ...] = Field(description="the bounds that were not kept, as sentences")


class Approval(Value):
    """What a person said before production, or that nobody said anything in time."""

    decision: Literal["approved", "refused", "expired"]
    by: str = ""
    comment: str = ""


class UnfinishedRelease(Value):
    """A model that production serves already, whose release never got to its end; and the one that it replaces."""

    model: RegisteredModel
    former: ModelVersion | None


class StageReport(Value):
    """A stage that the model climbed: what was deployed, how it was tested, how long that took."""

    stage: Literal["dev", "test", "prod"]
    service: str
    compute_type: Literal["ACI", "AKS"]
    cluster_purpose: Literal["DEV_TEST", "FAST_PROD"] | None = Field(description="of the AKS cluster; None for ACI")
    state: str
    scoring_uri: str
    tests: tuple[TestResult, ...]
    load: Load | None = None
    seconds: float


class ReportedWorkspace(Value):
    """Where the run took place; ``cloud`` is the cloud's name, or "emulator"."""

    name: str
    cloud: str
    studio: str | None = Field(
        default=None, description="what names it in an address of the Azure ML studio; the emulator has none"
    )


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
    notes: tuple[str, ...] = ()
    scored_again: bool = False
    test_data_fingerprint: str | None = None
    prediction_bins: tuple[PredictionBin, ...] = ()

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
    capped: tuple[str, ...] = ()

    @classmethod
    def of(cls, profile: ModelProfile) -> ReportedProfile:
        return cls(cpu=profile.cpu, memory_gb=profile.memory_gb, latency=profile.latency, capped=profile.capped)


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
    tuning: Tuning | None = None
    data: DataReport | None = None
    run: ReportedRun | None = None
    comparison: ReportedComparison | None = None
    model: ReportedModel | None = None
    profile: ReportedProfile | None = None
    stages: tuple[StageReport, ...] = ()
    canary: tuple[CanaryStep, ...] = ()
    approval: Approval | None = None
    warnings: tuple[str, ...] = Field((), description="what went on in spite of a fault, and how")
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
