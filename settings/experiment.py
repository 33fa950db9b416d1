"""The `experiment` section: the training script, the environment it runs in, and how its hyperparameters are tuned."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, SecretStr

from settings.section import AzureName, Count, Matching, Mistake, RelativePath, Scalar, Section, Text

ExperimentName = Annotated[
    str,
    Matching(
        r"[A-Za-z0-9][A-Za-z0-9_-]{0,254}",
        "must be 1 to 255 letters, digits, dashes or underscores, and start with a letter or digit",
    ),
]
ReferenceName = Annotated[
    str,
    Matching(r"[A-Za-z_][A-Za-z0-9_]*", "must be letters, digits or underscores, and not start with a digit"),
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
        None,
        description="Version that the environment installs, unless its packages list the framework themselves; null is "
        "the newest.",
        examples=["1.7.2"],
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


class TorchSettings(Section):
    """torch.distributed, as azureml.core.runconfig.PyTorchConfiguration."""

    process_count_per_node: int = Field(1, ge=1, description="Processes on each node.", examples=[1])


class ParameterServerSettings(Section):
    """TensorFlow's parameter servers, as azureml.core.runconfig.TensorflowConfiguration."""

    worker_count: Count | None = Field(
        None, description="Worker tasks, spread over the nodes; required for parameter_server.", examples=[2]
    )
    parameter_server_count: Count | None = Field(
        None, description="Parameter server tasks beside them; required for parameter_server.", examples=[1]
    )


class DistributedTrainingSettings(Section):
    """Training in several processes, on one node or on several."""

    backend_config: Literal["mpi", "parameter_server", "gloo", "nccl"] | None = Field(
        None, description="How the processes talk to each other; null trains in one process.", examples=["mpi"]
    )
    node_count: int = Field(1, ge=1, description="Nodes of a run.", examples=[2])
    mpi: MpiSettings = Field(default_factory=MpiSettings, description="With backend_config mpi.", examples=[{}])
    parameter_server: ParameterServerSettings = Field(
        default_factory=ParameterServerSettings, description="With backend_config parameter_server.", examples=[{}]
    )
    gloo: TorchSettings = Field(default_factory=TorchSettings, description="With backend_config gloo.", examples=[{}])
    nccl: TorchSettings = Field(
        default_factory=TorchSettings, description="With backend_config nccl, which needs GPUs.", examples=[{}]
    )

    def mistakes(self) -> Iterator[Mistake]:
        if self.backend_config is None and self.node_count > 1:
            yield Mistake(("node_count",), "must be 1 without a backend_config", (("backend_config",),))
        if self.backend_config != "parameter_server":
            return
        servers = self.parameter_server
        for name in ("worker_count", "parameter_server_count"):
            if getattr(servers, name) is None:
                yield Mistake(("parameter_server", name), "is required when backend_config is parameter_server")
        if servers.worker_count is not None and self.node_count > servers.worker_count:
            rule = f"must be at most parameter_server.worker_count ({servers.worker_count}): each node has a worker"
            yield Mistake(("node_count",), rule, (("parameter_server", "worker_count"),))


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


class DataPathBinding(Section):
    """How a path of a datastore reaches the compute, as azureml.data.datapath.DataPathComputeBinding."""

    mode: Literal["mount", "download"] = Field("mount", description="How it gets there.", examples=["download"])
    path_on_compute: Text | None = Field(
        None, description="Where it is put; null lets Azure choose.", examples=["former"]
    )
    overwrite: bool = Field(False, description="Whether it may replace what is there.", examples=[False])


class ResumeStateSettings(Section):
    """Going on from the outputs of a former run.

    They are copied to the default datastore, and reach the script as `--resume-from PATH` and as the environment
    variable AZUREML_DATAREFERENCE_<data_reference_name>.
    """

    resume_from_state: bool = Field(False, description="Hand on the outputs of a former run.", examples=[True])
    run_id: Text | None = Field(
        None,
        description="The former run; null is the one that made the model in production, or none without one.",
        examples=["diabetes-ridge_1"],
    )
    data_reference_name: ReferenceName | None = Field(
        None, description="Name of the data reference; null is MODEL_LOCATION.", examples=["checkpoints"]
    )
    datapath_compute_binding: Literal["mount", "download"] | DataPathBinding | None = Field(
        None,
        description="How the outputs reach the compute: a mode, or mode and place; null mounts.",
        examples=["mount"],
    )

    @property
    def binding(self) -> DataPathBinding:
        """The binding in full."""
        given = self.datapath_compute_binding
        return given if isinstance(given, DataPathBinding) else DataPathBinding(mode=given or "mount")


class DatasetSettings(Section):
    """A registered data set, as azureml.core.Dataset.get_by_name finds it."""

    name: Text = Field(description="Its name in the workspace.", examples=["diabetes"])
    version: Count | None = Field(None, description="Its version; null is the latest.", examples=[3])


class DataReferenceSettings(Section):
    """Data of a run: a path of a datastore (as DataReferenceConfiguration), a local path, or a registered data set."""

    data_store_name: Text | None = Field(
        None,
        alias="dataStoreName",
        description="Datastore; null is the workspace's default one.",
        examples=["workspaceblobstore"],
    )
    path_on_data_store: Text | None = Field(
        None, alias="pathOnDataStore", description="Path in the datastore.", examples=["diabetes"]
    )
    local_path: RelativePath | None = Field(
        None, description="File or directory that is uploaded to the default datastore.", examples=["data/diabetes"]
    )
    dataset: DatasetSettings | None = Field(None, description="Data set.", examples=[{"name": "diabetes"}])
    mode: Literal["mount", "download", "upload"] = Field(
        "mount",
        description="How it reaches the compute; upload takes what the script writes there.",
        examples=["mount"],
    )
    path_on_compute: Text | None = Field(
        None, alias="pathOnCompute", description="Where it is put; null lets Azure choose.", examples=["data"]
    )
    overwrite: bool = Field(False, description="Whether it may replace what is there.", examples=[False])

    def mistakes(self) -> Iterator[Mistake]:
        sources = {"dataset": self.dataset, "local_path": self.local_path, "pathOnDataStore": self.path_on_data_store}
        given = [name for name, source in sources.items() if source is not None]
        if not given and self.data_store_name is None:
            yield Mistake(("pathOnDataStore",), "is required without dataStoreName, local_path or dataset")
        for name in given[1:]:
            yield Mistake((name,), f"must be left out with {given[0]}")
        if given and given[0] != "pathOnDataStore":
            if self.data_store_name is not None:
                yield Mistake(("dataStoreName",), f"must be left out with {given[0]}")
            if self.mode == "upload":
                yield Mistake(("mode",), f"must be mount or download with {given[0]}", ((given[0],),))


class HistorySettings(Section):
    """What a run keeps, as azureml.core.runconfig.HistoryConfiguration."""

    output_collection: bool = Field(True, description="Keep the outputs directory.", examples=[True])
    snapshot_project: bool = Field(
        True,
        alias="snapshotProject",
        description="Keep a snapshot of the source directory. It is how it reaches the compute, so that false has no "
        "effect.",
        examples=[True],
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
        False, description="The compute has Python and the packages already: install none.", examples=[False]
    )
    interpreter_path: Text | None = Field(
        None,
        description="Python interpreter on the compute, with user_managed; null is `python`.",
        examples=["/opt/conda/bin/python"],
    )
    environment_variables: dict[Text, str] = Field(
        {},
        description="Environment variables of the training script.",
        examples=[{"OMP_NUM_THREADS": "2"}],
    )
    source_directory_datastore: Text | None = Field(
        None,
        description="Datastore that the nodes share the source directory through; null is Azure's choice.",
        examples=["workspaceblobstore"],
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
    data_references: dict[ReferenceName, DataReferenceSettings] = Field(
        {},
        description="Data of the run by name: the path reaches the script as argument `--name PATH`.",
        examples=[
            {"diabetes": {"dataStoreName": "workspaceblobstore", "mode": "mount", "pathOnDataStore": "diabetes"}}
        ],
    )
    max_run_duration_seconds: int | None = Field(
        None, ge=1, description="Seconds until a run is ended; null is Azure's default.", examples=[3600]
    )
    use_custom_environment: bool = Field(
        False,
        description="Use the environment environment_name as it is registered in the workspace; build none.",
        examples=[False],
    )
    environment_name: AzureName | None = Field(
        None,
        description="Name of the environment in the workspace; null is the experiment's name and `-training`.",
        examples=["diabetes-training"],
    )
    environment_version: Text | None = Field(
        None, description="Its version, with use_custom_environment; null is the latest.", examples=["3"]
    )

    @property
    def environment(self) -> str:
        """The environment's name in the workspace."""
        return self.environment_name or f"{self.name}-training"

    def mistakes(self) -> Iterator[Mistake]:
        yield from self._mistakes_of_packages()
        if self.interpreter_path is not None and not self.user_managed:
            yield Mistake(("interpreter_path",), "needs user_managed", (("user_managed",),))
        if self.environment_version is not None and not self.use_custom_environment:
            yield Mistake(("environment_version",), "needs use_custom_environment", (("use_custom_environment",),))
        arguments = {*self.script_parameters, *self.hyperparameter_sampling.parameters}
        for name in self.data_references:
            if f"--{name}" in arguments:
                yield Mistake(("data_references", name), f"has the name of the argument --{name}")
        resumed = self.resume_state
        if resumed.resume_from_state and resumed.data_reference_name in self.data_references:
            yield Mistake(("resume_state", "data_reference_name"), "must not be one of data_references")

    def _mistakes_of_packages(self) -> Iterator[Mistake]:
        given = [name for name in type(self.dependencies).model_fields if getattr(self.dependencies, name)]
        reason = next((name for name in ("use_custom_environment", "user_managed") if getattr(self, name)), None)
        if reason is not None:
            for name in given:
                yield Mistake(
                    ("dependencies", name), f"must be empty with {reason}: nothing is installed", ((reason,),)
                )
        elif "conda_dependencies_file" in given:
            for name in given:
                if name != "conda_dependencies_file":
                    yield Mistake(("dependencies", name), "must be empty with conda_dependencies_file: list it there")
        if self.user_managed and self.use_custom_environment:
            yield Mistake(
                ("user_managed",), "must be false with use_custom_environment", (("use_custom_environment",),)
            )
