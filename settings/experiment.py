"""The `experiment` section: the training script, the environment it runs in, and how its hyperparameters are tuned."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, SecretStr

from settings.section import Count, Matching, Mistake, RelativePath, Scalar, Section, Text, TextOrObject

ExperimentName = Annotated[
    str,
    Matching(
        r"[A-Za-z0-9][A-Za-z0-9_-]{0,254}",
        "must be 1 to 255 letters, digits, dashes or underscores, and start with a letter or digit",
    ),
]


class RegistrySettings(Section):
    """The container registry that holds a custom image."""

    address: Text | None = Field(None, description="Address of the registry.", examples=["contoso.azurecr.io"])
    username: Text | None = Field(None, description="User of the registry.", examples=["contoso"])
    password: SecretStr | None = Field(
        None, description="Password of that user; take it from the environment.", examples=["${REGISTRY_PASSWORD}"]
    )


class TrainingDependencies(Section):
    """The packages that the training script needs."""

    conda_packages: tuple[Text, ...] = Field((), description="Packages from conda.", examples=[["libgomp"]])
    pip_packages: tuple[Text, ...] = Field((), description="Packages from PyPI.", examples=[["scikit-learn>=1.5,<1.8"]])
    conda_dependencies_file: RelativePath | None = Field(
        None, description="A conda environment file within the source directory.", examples=["conda.yml"]
    )
    pip_requirements_file: RelativePath | None = Field(
        None, description="A pip requirements file within the source directory.", examples=["requirements.txt"]
    )


class FrameworkOptions(Section):
    """How one framework is installed."""

    framework_version: Text | None = Field(
        None, description="Version that the environment installs; null takes none.", examples=["1.7.2"]
    )
    enable_optimized_mode: bool | None = Field(
        None,
        alias="_enable_optimized_mode",
        description="Belonged to the Estimator classes; without effect in a ScriptRunConfig.",
        examples=[False],
    )


class FrameworkSettings(Section):
    """The machine-learning framework of the training script."""

    name: Literal["chainer", "pytorch", "sklearn", "tensorflow", "other"] = Field(
        "other", description="The framework.", examples=["sklearn"]
    )
    chainer: FrameworkOptions = Field(default_factory=FrameworkOptions, description="Chainer.", examples=[{}])
    pytorch: FrameworkOptions = Field(default_factory=FrameworkOptions, description="PyTorch.", examples=[{}])
    sklearn: FrameworkOptions = Field(default_factory=FrameworkOptions, description="scikit-learn.", examples=[{}])
    tensorflow: FrameworkOptions = Field(default_factory=FrameworkOptions, description="TensorFlow.", examples=[{}])
    other: FrameworkOptions = Field(default_factory=FrameworkOptions, description="Any other.", examples=[{}])


class MpiSettings(Section):
    """MPI, as azureml.core.runconfig.MpiConfiguration."""

    process_count_per_node: int = Field(1, ge=1, description="Processes on each node.", examples=[1])


class ParameterServerSettings(Section):
    """TensorFlow's parameter servers, as azureml.core.runconfig.TensorflowConfiguration."""

    worker_count: Count = Field(1, description="Worker tasks.", examples=[2])
    parameter_server_count: Count = Field(1, description="Parameter server tasks.", examples=[1])


class DistributedTrainingSettings(Section):
    """Training on several nodes at once."""

    backend_config: Literal["mpi", "parameter_server", "gloo", "nccl"] | None = Field(
        None, description="How the nodes talk to each other; null trains without distribution.", examples=["mpi"]
    )
    node_count: int = Field(1, ge=1, description="Nodes of a run.", examples=[2])
    mpi: MpiSettings = Field(default_factory=MpiSettings, description="With backend_config mpi.", examples=[{}])
    parameter_server: ParameterServerSettings = Field(
        default_factory=ParameterServerSettings, description="With backend_config parameter_server.", examples=[{}]
    )


class TrainingDockerSettings(Section):
    """The container that the training script runs in."""

    use_docker: bool | None = Field(None, description="Run in a container.", examples=[True])
    shm_size: Annotated[str, Matching(r"[0-9]+[bkmg]?", "must be a size such as 2g")] | None = Field(
        None, description="Size of the container's shared memory.", examples=["2g"]
    )
    custom_image: Text | None = Field(
        None, description="Image to use instead of Azure ML's.", examples=["contoso.azurecr.io/training:3"]
    )
    custom_image_registry_details: RegistrySettings = Field(
        default_factory=RegistrySettings, description="Where the custom image is.", examples=[{}]
    )


class ChoiceParameters(Section):
    """One of a list."""

    options: Annotated[tuple[Scalar, ...], Field(min_length=1)] | None = Field(
        None, description="The values.", examples=[[0.1, 0.5, 1.0]]
    )


class RandintParameters(Section):
    """A whole number from 0 up to, without, a bound."""

    upper: int | None = Field(None, ge=1, description="The bound, exclusive.", examples=[100])


class RangeParameters(Section):
    """Between two values."""

    min_value: float | None = Field(None, description="Lower bound (of the exponent, for loguniform).", examples=[0.05])
    max_value: float | None = Field(None, description="Upper bound (of the exponent, for loguniform).", examples=[1.0])

    def mistakes(self) -> Iterator[Mistake]:
        if self.min_value is not None and self.max_value is not None and self.min_value >= self.max_value:
            yield Mistake(("min_value",), f"must be less than max_value ({self.max_value:g})")


class QuantizedRangeParameters(RangeParameters):
    """Between two values, in steps."""

    q: int | None = Field(None, ge=1, description="The step.", examples=[1])


class NormalParameters(Section):
    """Around a mean."""

    mu: float | None = Field(None, description="Mean (of the logarithm, for lognormal).", examples=[0.5])
    sigma: float | None = Field(
        None, ge=0, description="Standard deviation (of the logarithm, for lognormal).", examples=[0.1]
    )


class QuantizedNormalParameters(NormalParameters):
    """Around a mean, in steps."""

    q: int | None = Field(None, ge=1, description="The step.", examples=[1])


_DISTRIBUTION = "One of azureml.train.hyperdrive's parameter expressions."


class Choice(Section):
    """azureml.train.hyperdrive.choice"""

    distribution: Literal["choice"] = Field(description=_DISTRIBUTION, examples=["choice"])
    parameters: ChoiceParameters = Field(default_factory=ChoiceParameters, description="Its parameters.", examples=[{}])


class Randint(Section):
    """azureml.train.hyperdrive.randint"""

    distribution: Literal["randint"] = Field(description=_DISTRIBUTION, examples=["randint"])
    parameters: RandintParameters = Field(
        default_factory=RandintParameters, description="Its parameters.", examples=[{"upper": 100}]
    )


class _OverRange(Section):
    parameters: RangeParameters = Field(
        default_factory=RangeParameters, description="Its parameters.", examples=[{"min_value": 0.05, "max_value": 1.0}]
    )


class _OverQuantizedRange(Section):
    parameters: QuantizedRangeParameters = Field(
        default_factory=QuantizedRangeParameters,
        description="Its parameters.",
        examples=[{"min_value": 1, "max_value": 9, "q": 2}],
    )


class _AroundMean(Section):
    parameters: NormalParameters = Field(
        default_factory=NormalParameters, description="Its parameters.", examples=[{"mu": 0.5, "sigma": 0.1}]
    )


class _AroundQuantizedMean(Section):
    parameters: QuantizedNormalParameters = Field(
        default_factory=QuantizedNormalParameters,
        description="Its parameters.",
        examples=[{"mu": 5, "sigma": 2, "q": 1}],
    )


class Uniform(_OverRange):
    """azureml.train.hyperdrive.uniform"""

    distribution: Literal["uniform"] = Field(description=_DISTRIBUTION, examples=["uniform"])


class Loguniform(_OverRange):
    """azureml.train.hyperdrive.loguniform"""

    distribution: Literal["loguniform"] = Field(description=_DISTRIBUTION, examples=["loguniform"])


class Quniform(_OverQuantizedRange):
    """azureml.train.hyperdrive.quniform"""

    distribution: Literal["quniform"] = Field(description=_DISTRIBUTION, examples=["quniform"])


class Qloguniform(_OverQuantizedRange):
    """azureml.train.hyperdrive.qloguniform"""

    distribution: Literal["qloguniform"] = Field(description=_DISTRIBUTION, examples=["qloguniform"])


class Normal(_AroundMean):
    """azureml.train.hyperdrive.normal"""

    distribution: Literal["normal"] = Field(description=_DISTRIBUTION, examples=["normal"])


class Lognormal(_AroundMean):
    """azureml.train.hyperdrive.lognormal"""

    distribution: Literal["lognormal"] = Field(description=_DISTRIBUTION, examples=["lognormal"])


class Qnormal(_AroundQuantizedMean):
    """azureml.train.hyperdrive.qnormal"""

    distribution: Literal["qnormal"] = Field(description=_DISTRIBUTION, examples=["qnormal"])


class Qlognormal(_AroundQuantizedMean):
    """azureml.train.hyperdrive.qlognormal"""

    distribution: Literal["qlognormal"] = Field(description=_DISTRIBUTION, examples=["qlognormal"])


# Chosen by the exact name: 'quniform' is never taken for 'uniform'.
Distribution = Annotated[
    Choice | Randint | Uniform | Loguniform | Quniform | Qloguniform | Normal | Lognormal | Qnormal | Qlognormal,
    Field(discriminator="distribution"),
]


class BanditSettings(Section):
    """azureml.train.hyperdrive.BanditPolicy"""

    slack_factor: float | None = Field(
        None, gt=0, description="Allowed distance from the best run, as a ratio.", examples=[0.2]
    )
    slack_amount: float | None = Field(
        None, gt=0, description="Allowed distance from the best run, as an amount.", examples=[10.0]
    )


class TruncationSelectionSettings(Section):
    """azureml.train.hyperdrive.TruncationSelectionPolicy"""

    truncation_percentage: int | None = Field(
        None, ge=1, le=99, description="Share of the worst runs to end at each evaluation, in percent.", examples=[20]
    )


class PolicySettings(Section):
    """When a run that does badly is ended early."""

    name: Literal["bandit", "medianstopping", "noterminal", "truncationselection"] | None = Field(
        None, description="The policy; null ends none early.", examples=["bandit"]
    )
    evaluation_interval: int = Field(1, ge=1, description="Logged metrics between two evaluations.", examples=[1])
    delay_evaluation: int = Field(0, ge=0, description="Logged metrics before the first evaluation.", examples=[5])
    bandit: BanditSettings = Field(default_factory=BanditSettings, description="With name bandit.", examples=[{}])
    truncationselection: TruncationSelectionSettings = Field(
        default_factory=TruncationSelectionSettings, description="With name truncationselection.", examples=[{}]
    )


class HyperparameterSamplingSettings(Section):
    """Tuning with azureml.train.hyperdrive. Its rules hold when use_hyperparameter_sampling is true."""

    use_hyperparameter_sampling: bool = Field(False, description="Tune instead of training once.", examples=[True])
    method: Literal["random", "grid", "bayesian"] | None = Field(
        None, description="How the next values are chosen; required for tuning.", examples=["random"]
    )
    parameters: dict[Text, Distribution | None] = Field(
        {},
        description="Each tuned argument of the training script, and its distribution; required for tuning.",
        examples=[{"--alpha": {"distribution": "uniform", "parameters": {"min_value": 0.05, "max_value": 1.0}}}],
    )
    policy: PolicySettings = Field(
        default_factory=PolicySettings, description="Early termination.", examples=[{"name": "medianstopping"}]
    )
    primary_metric_name: Text | None = Field(
        None, description="The metric, as the training script logs it; required for tuning.", examples=["mse"]
    )
    primary_metric_goal: Literal["max", "min"] | None = Field(
        None, description="Which way is better; required for tuning.", examples=["min"]
    )
    max_total_runs: int | None = Field(
        None, ge=1, le=1000, description="Runs in all; required for tuning.", examples=[20]
    )
    max_concurrent_runs: int | None = Field(
        None, ge=1, le=100, description="Runs at a time; null is as many as max_total_runs.", examples=[4]
    )
    max_duration_minutes: int | None = Field(
        None, ge=1, le=10080, description="Minutes until the tuning is ended; null is 10080 (a week).", examples=[60]
    )

    def mistakes(self) -> Iterator[Mistake]:
        if not self.use_hyperparameter_sampling:
            return
        for name in ("method", "primary_metric_name", "primary_metric_goal", "max_total_runs"):
            if getattr(self, name) is None:
                yield Mistake((name,), "is required when use_hyperparameter_sampling is true")
        if self.max_total_runs and self.max_concurrent_runs and self.max_concurrent_runs > self.max_total_runs:
            yield Mistake(("max_concurrent_runs",), f"must be at most max_total_runs ({self.max_total_runs})")
        if not self.parameters:
            yield Mistake(("parameters",), "must name at least one argument when use_hyperparameter_sampling is true")
        for argument, distribution in self.parameters.items():
            yield from self._mistakes_of(argument, distribution)
        yield from self._mistakes_of_policy()

    def _mistakes_of(self, argument: str, distribution: Distribution | None) -> Iterator[Mistake]:
        allowed = {"grid": ("choice",), "bayesian": ("choice", "uniform", "quniform")}.get(self.method or "")
        if distribution is None:
            yield Mistake(("parameters", argument), "is required")
            return
        if allowed and distribution.distribution not in allowed:
            yield Mistake(
                ("parameters", argument, "distribution"),
                f"must be one of: {', '.join(allowed)}, for {self.method} sampling",
            )
        if self.method == "bayesian":
            yield from _mistakes_of_bayesian(argument, distribution)
        for parameter in type(distribution.parameters).model_fields:
            if getattr(distribution.parameters, parameter) is None:
                at = ("parameters", argument, "parameters", parameter)
                yield Mistake(at, f"is required by the distribution {distribution.distribution}")

    def _mistakes_of_policy(self) -> Iterator[Mistake]:
        policy = self.policy
        if self.method == "bayesian" and policy.name not in (None, "noterminal"):
            yield Mistake(("policy", "name"), "must be null or noterminal: bayesian sampling ends no run early")
        if policy.name == "bandit" and (policy.bandit.slack_factor is None) == (policy.bandit.slack_amount is None):
            yield Mistake(("policy", "bandit"), "must have exactly one of slack_factor and slack_amount")
        if policy.name == "truncationselection" and policy.truncationselection.truncation_percentage is None:
            yield Mistake(
                ("policy", "truncationselection", "truncation_percentage"), "is required by truncationselection"
            )


def _mistakes_of_bayesian(argument: str, distribution: Distribution) -> Iterator[Mistake]:
    """What azureml.train.hyperdrive.BayesianParameterSampling wants beyond the distribution's own rules."""
    at = ("parameters", argument, "parameters")
    given = distribution.parameters
    if isinstance(given, ChoiceParameters) and given.options:
        kinds = {
            str if isinstance(option, str) else bool if isinstance(option, bool) else float for option in given.options
        }
        if bool in kinds or len(kinds) > 1:
            yield Mistake((*at, "options"), "must be all text or all numbers, for bayesian sampling")
    if isinstance(given, QuantizedRangeParameters):
        for name in ("min_value", "max_value"):
            value = getattr(given, name)
            if value is not None and not float(value).is_integer():
                yield Mistake((*at, name), "must be a whole number, for bayesian sampling")


class ResumeStateSettings(Section):
    """Going on from the outputs of an earlier run."""

    resume_from_state: bool = Field(False, description="Go on from an earlier state.", examples=[False])
    data_reference_name: Text | None = Field(
        None, description="The data reference that holds the state.", examples=["checkpoints"]
    )
    datapath_compute_binding: TextOrObject | None = Field(
        None, description="How the state reaches the compute (DataPathComputeBinding).", examples=["mount"]
    )


class HistorySettings(Section):
    """What a run keeps, as azureml.core.runconfig.HistoryConfiguration."""

    output_collection: bool = Field(True, description="Keep the outputs directory.", examples=[True])
    snapshot_project: bool = Field(
        True, alias="snapshotProject", description="Keep a snapshot of the source directory.", examples=[True]
    )
    directories_to_watch: tuple[RelativePath, ...] = Field(
        ("logs",),
        alias="directoriesToWatch",
        description="Directories kept while the run goes on.",
        examples=[["logs"]],
    )


class ExperimentSettings(Section):
    """The training script, what it gets, and where it runs."""

    name: ExperimentName = Field("training", description="Name of the experiment.", examples=["diabetes-ridge"])
    source_directory: RelativePath = Field(
        "code/training", description="Directory of the training code; all of it goes along.", examples=["code/training"]
    )
    entry_script: RelativePath = Field(
        "train.py", description="The training script, within source_directory.", examples=["train.py"]
    )
    script_parameters: dict[Text, Scalar | None] = Field(
        {},
        description="Arguments of the training script; an argument without a value has null.",
        examples=[{"--alpha": 0.5}],
    )
    user_managed: bool = Field(
        False, description="The compute has the packages already: install none.", examples=[False]
    )
    environment_variables: dict[Text, str] = Field(
        {},
        description="Environment variables of the training script.",
        examples=[{"OMP_NUM_THREADS": "2"}],
    )
    source_directory_datastore: Text | None = Field(
        None, description="Datastore that carries the source directory to the compute.", examples=["workspaceblobstore"]
    )
    dependencies: TrainingDependencies = Field(
        default_factory=TrainingDependencies, description="Packages.", examples=[{"pip_packages": ["pandas>=2,<3"]}]
    )
    framework: FrameworkSettings = Field(
        default_factory=FrameworkSettings, description="Framework.", examples=[{"name": "sklearn"}]
    )
    distributed_training: DistributedTrainingSettings = Field(
        default_factory=DistributedTrainingSettings, description="Distribution.", examples=[{"node_count": 1}]
    )
    docker: TrainingDockerSettings = Field(
        default_factory=TrainingDockerSettings, description="Container.", examples=[{"shm_size": "2g"}]
    )
    hyperparameter_sampling: HyperparameterSamplingSettings = Field(
        default_factory=HyperparameterSamplingSettings,
        description="Tuning.",
        examples=[{"use_hyperparameter_sampling": False}],
    )
    resume_state: ResumeStateSettings = Field(
        default_factory=ResumeStateSettings, description="Resuming.", examples=[{"resume_from_state": False}]
    )
    history: HistorySettings = Field(
        default_factory=HistorySettings, description="History.", examples=[{"output_collection": True}]
    )
    run_tags: dict[Text, str] = Field({}, description="Tags of the run.", examples=[{"team": "risk"}])
    data_references: dict[Text, dict[str, Scalar | None]] = Field(
        {},
        description="Data that the run reads from datastores (DataReferenceConfiguration), by name.",
        examples=[
            {"diabetes": {"dataStoreName": "workspaceblobstore", "mode": "mount", "pathOnDataStore": "diabetes"}}
        ],
    )
    max_run_duration_seconds: int | None = Field(
        None, ge=1, description="Seconds until a run is ended; null is Azure's default.", examples=[3600]
    )
    use_custom_environment: bool = Field(
        False,
        description="Use the environment that the workspace has under the experiment's name; build none.",
        examples=[False],
    )
