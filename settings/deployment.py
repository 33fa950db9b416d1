"""The `deployment` section: the model, its scoring image, the services of the three stages, and their tests."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, SecretStr

from settings.experiment import RegistrySettings
from settings.section import AzureName, Matching, Mistake, RelativePath, Section, Text

ServiceName = Annotated[
    str,
    Matching(
        r"[a-z][a-z0-9-]{1,30}[a-z0-9]",
        "must be 3 to 32 lower-case letters, digits or dashes, start with a letter and end with a letter or digit",
    ),
]
DnsLabel = Annotated[
    str,
    Matching(
        r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?",
        "must be 1 to 63 lower-case letters, digits or dashes, and start and end with a letter or digit",
    ),
]


MetricFunction = Literal["mse", "rmse", "mae", "r2", "accuracy"]


class SliceSettings(Section):
    """What a group of the test data may lose: metrics that are logged as `mse[sex=1]` are slices of `mse`."""

    allowed_loss: float | None = Field(
        None, ge=0, description="Largest loss of any slice, in the metric's unit.", examples=[100]
    )
    allowed_relative_loss: float | None = Field(
        None, ge=0, description="Largest loss of any slice, as a fraction of production's value.", examples=[0.05]
    )


class MetricSettings(Section):
    """The rules of one metric. Where an absolute and a relative bound are given, both hold."""

    direction: Literal["larger_is_better", "smaller_is_better"] = Field(
        description="Which way is better.", examples=["smaller_is_better"]
    )
    threshold: float | None = Field(
        None,
        description="The value that a model must reach, also the first one: at least this, or at most this where "
        "smaller is better.",
        examples=[3500],
    )
    min_absolute_improvement: float | None = Field(
        None, gt=0, description="The metric must improve by at least this, in its own unit.", examples=[10]
    )
    min_relative_improvement: float | None = Field(
        None, gt=0, description="It must improve by at least this fraction of production's value.", examples=[0.01]
    )
    allowed_loss: float | None = Field(
        None, ge=0, description="It may get worse by at most this, in its own unit.", examples=[5]
    )
    allowed_relative_loss: float | None = Field(
        None, ge=0, description="It may get worse by at most this fraction of production's value.", examples=[0.01]
    )
    slices: SliceSettings | None = Field(
        None,
        description="Rules for the metric's slices; null does not look at them.",
        examples=[{"allowed_relative_loss": 0.05}],
    )
    function: MetricFunction | None = Field(
        None,
        description="How the metric follows from predictions; null is the function of the metric's own name, if any.",
        examples=["mse"],
    )

    def mistakes(self) -> Iterator[Mistake]:
        for allowed in ("allowed_loss", "allowed_relative_loss"):
            for wanted in ("min_absolute_improvement", "min_relative_improvement"):
                if getattr(self, allowed) is not None and getattr(self, wanted) is not None:
                    yield Mistake((allowed,), f"must be null when {wanted} is given", ((wanted,),))


class TestSetSettings(Section):
    """What the training script leaves about its test data, so that both models are judged on the same."""

    __test__ = False  # pytest collects classes by this name

    predictions: RelativePath = Field(
        "outputs/predictions.csv",
        description="Output of the run, CSV with the columns id, target and prediction; every further column is a "
        "group, whose values are slices.",
        examples=["outputs/predictions.csv"],
    )
    requests: RelativePath = Field(
        "outputs/test_requests.jsonl",
        description="Output of the run: the rows of the predictions, in their order, as requests to the service, one "
        "to a line. The answer to each is the list of its predictions.",
        examples=["outputs/test_requests.jsonl"],
    )
    timeout_seconds: int = Field(
        60, ge=1, le=3600, description="Seconds for one answer of production's service.", examples=[60]
    )


class SignificanceSettings(Section):
    """A paired bootstrap of each metric's improvement over the rows of the common test data."""

    required: bool = Field(
        True,
        description="A metric counts as better only when the interval lies above zero; false only reports it.",
        examples=[True],
    )
    resamples: int = Field(2000, ge=100, le=100_000, description="Resamples of the test data.", examples=[2000])
    confidence: float = Field(0.95, gt=0.5, lt=1, description="Confidence of the interval.", examples=[0.95])
    seed: int = Field(0, ge=0, description="Seed, so that the same data gives the same interval.", examples=[0])


class EvaluationParameters(Section):
    """The metrics by which a candidate is compared with the model in production."""

    larger_is_better: tuple[Text, ...] = Field((), description="Metrics where more is better.", examples=[["r2"]])
    smaller_is_better: tuple[Text, ...] = Field((), description="Metrics where less is better.", examples=[["mse"]])
    metrics: dict[Text, MetricSettings] = Field(
        {},
        description="Metrics with rules of their own; they need not be in the two lists.",
        examples=[{"mse": {"direction": "smaller_is_better", "min_relative_improvement": 0.01}}],
    )
    test_set: TestSetSettings | None = Field(
        None,
        description="The test data that the training script leaves; null compares the logged metrics as they are.",
        examples=[{"predictions": "outputs/predictions.csv"}],
    )
    significance: SignificanceSettings | None = Field(
        None, description="Confidence intervals; null computes none.", examples=[{"resamples": 2000}]
    )

    def mistakes(self) -> Iterator[Mistake]:
        if not self.larger_is_better and not self.smaller_is_better and not self.metrics:
            yield Mistake((), "must name at least one metric in larger_is_better, smaller_is_better or metrics")
        for position, metric in enumerate(self.smaller_is_better):
            if metric in self.larger_is_better:
                yield Mistake(("smaller_is_better", position), "must not be in larger_is_better as well")
        for name in ("larger_is_better", "smaller_is_better"):
            for position, metric in enumerate(getattr(self, name)):
                if metric in self.metrics and self.metrics[metric].direction != name:
                    other = ("metrics", metric, "direction")
                    yield Mistake((name, position), f"must have the direction {name} in metrics as well", (other,))
        if self.significance is not None and self.test_set is None:
            yield Mistake(("significance",), "must be null without a test_set", (("test_set",),))


class ModelSettings(Section):
    """The model, as it is registered."""

    name: AzureName = Field("model", description="Name of the registered model.", examples=["diabetes-ridge"])
    path: RelativePath = Field(
        "outputs/model.pkl", description="Where the training run writes it.", examples=["outputs/diabetes-ridge.pkl"]
    )
    evaluation_parameters: EvaluationParameters = Field(
        description="The metrics that decide.", examples=[{"smaller_is_better": ["mse"]}]
    )
    tags: dict[Text, str] = Field({}, description="Tags of the model.", examples=[{"team": "risk"}])
    properties: dict[Text, str] = Field(
        {}, description="Properties of the model; they never change.", examples=[{"data": "diabetes"}]
    )
    description: Text | None = Field(None, description="What the model does.", examples=["Progression of diabetes"])
    model_framework: Text | None = Field(
        None, description="Framework of the model (Model.Framework).", examples=["ScikitLearn"]
    )
    model_framework_version: Text | None = Field(None, description="Its version.", examples=["1.7.2"])
    datasets: tuple[tuple[Text, Text], ...] = Field(
        (), description="Registered datasets of the model: what for, and name.", examples=[[["training", "diabetes"]]]
    )


class ImageDependencies(Section):
    """The packages that the scoring script needs, besides azureml-defaults."""

    conda_packages: tuple[Text, ...] = Field((), description="Packages from conda.", examples=[["libgomp"]])
    pip_packages: tuple[Text, ...] = Field((), description="Packages from PyPI.", examples=[["scikit-learn>=1.5,<1.8"]])
    python_version: Annotated[str, Matching(r"3\.\d+(?:\.\d+)?", "must be a version such as 3.10")] | None = Field(
        None, description="Version of Python, as text; null is Azure's default.", examples=["3.10"]
    )
    pin_sdk_version: bool = Field(True, description="Pin azureml packages to the SDK's version.", examples=[True])


class ImageDockerSettings(Section):
    """The container that the scoring script runs in."""

    use_gpu: bool = Field(False, description="Serve on a GPU.", examples=[False])
    cuda_version: Text | None = Field(None, description="Version of CUDA, with use_gpu.", examples=["10.0"])
    custom_image: Text | None = Field(
        None, description="Image to use instead of Azure ML's.", examples=["contoso.azurecr.io/scoring:3"]
    )
    custom_image_registry_details: RegistrySettings = Field(
        default_factory=RegistrySettings, description="Where the custom image is.", examples=[{}]
    )
    extra_docker_file_steps: RelativePath | None = Field(
        None, description="File of further Dockerfile steps.", examples=["code/scoring/Dockerfile.steps"]
    )


class ImageSettings(Section):
    """How the model is served: azureml.core.model.InferenceConfig."""

    name: AzureName = Field("scoring", description="Name of the scoring environment.", examples=["diabetes-scoring"])
    entry_script: RelativePath = Field(
        "score.py", description="The scoring script, within source_directory.", examples=["score.py"]
    )
    source_directory: RelativePath = Field(
        "code/scoring", description="Directory of the scoring code; all of it goes along.", examples=["code/scoring"]
    )
    runtime: Literal["python", "python-slim", "spark-py"] = Field(
        "python", description="Runtime of the scoring script.", examples=["python"]
    )
    dependencies: ImageDependencies = Field(
        default_factory=ImageDependencies,
        description="Packages.",
        examples=[{"pip_packages": ["scikit-learn>=1.5,<1.8"]}],
    )
    docker: ImageDockerSettings = Field(
        default_factory=ImageDockerSettings, description="Container.", examples=[{"use_gpu": False}]
    )
    tags: dict[Text, str] = Field({}, description="Tags of the image.", examples=[{"team": "risk"}])
    properties: dict[Text, str] = Field({}, description="Properties of the image.", examples=[{"stage": "all"}])
    description: Text | None = Field(None, description="What the image serves.", examples=["Scores ridge models"])
    use_custom_environment: bool = Field(
        False, description="Use the environment that the workspace has under this name; build none.", examples=[False]
    )


class _ServiceSettings(Section):
    """What ACI and AKS services have in common; null is Azure's default."""

    name: ServiceName = Field("model", description="Name of the service.", examples=["diabetes"])
    auth_enabled: bool | None = Field(None, description="Ask callers for a key.", examples=[True])
    enable_app_insights: bool | None = Field(None, description="Log to Application Insights.", examples=[True])
    cpu_cores: float | None = Field(
        None, gt=0, description="CPU cores of a replica; null is what the model's profile recommends.", examples=[0.5]
    )
    memory_gb: float | None = Field(
        None, gt=0, description="Memory of a replica, in GB; null is what the profile recommends.", examples=[0.5]
    )


class AciServiceSettings(_ServiceSettings):
    """The dev service: azureml.core.webservice.AciWebservice.deploy_configuration."""

    name: ServiceName = Field("model-dev", description="Name of the service.", examples=["diabetes-dev"])
    ssl_enabled: bool | None = Field(None, description="Serve over HTTPS.", examples=[False])
    ssl_cert_pem_file: Text | None = Field(None, description="File of the certificate.", examples=["tls/cert.pem"])
    ssl_key_pem_file: Text | None = Field(None, description="File of the certificate's key.", examples=["tls/key.pem"])
    ssl_cname: Text | None = Field(None, description="Host name of the certificate.", examples=["dev.contoso.com"])
    location: Text | None = Field(None, description="Region; null is the workspace's.", examples=["westeurope"])
    dns_name_label: DnsLabel | None = Field(
        None, description="First part of the host name; null is made by Azure.", examples=["diabetes-dev"]
    )

    def mistakes(self) -> Iterator[Mistake]:
        if self.ssl_enabled:
            for name in ("ssl_cert_pem_file", "ssl_key_pem_file", "ssl_cname"):
                if getattr(self, name) is None:
                    yield Mistake((name,), "is required when ssl_enabled is true")


class _AksServiceSettings(_ServiceSettings):
    autoscale_enabled: bool | None = Field(
        None, description="Add and remove replicas as needed; null is Azure's default.", examples=[False]
    )
    autoscale_min_replicas: int | None = Field(None, ge=1, description="Fewest replicas.", examples=[1])
    autoscale_max_replicas: int | None = Field(None, ge=1, description="Most replicas.", examples=[10])
    autoscale_refresh_seconds: int | None = Field(None, ge=1, description="Seconds between two looks.", examples=[1])
    autoscale_target_utilization: int | None = Field(
        None, ge=1, le=100, description="Use of the replicas that is aimed at, in percent.", examples=[70]
    )
    collect_model_data: bool | None = Field(None, description="Keep inputs and predictions.", examples=[False])
    scoring_timeout_ms: int | None = Field(
        None, ge=1, description="Milliseconds for one scoring call; null is 60000.", examples=[60000]
    )
    replica_max_concurrent_requests: int | None = Field(
        None, ge=1, description="Requests at a time on a replica; null is 1.", examples=[1]
    )
    max_request_wait_time: int | None = Field(
        None, ge=1, description="Milliseconds that a request may queue; null is 500.", examples=[500]
    )
    num_replicas: int | None = Field(None, ge=1, description="Replicas, without autoscaling.", examples=[2])
    gpu_cores: int | None = Field(None, ge=0, description="GPU cores of a replica.", examples=[0])
    period_seconds: int | None = Field(
        None, ge=1, description="Seconds between liveness probes; null is 10.", examples=[10]
    )
    initial_delay_seconds: int | None = Field(
        None, ge=1, description="Seconds before the first liveness probe; null is 310.", examples=[310]
    )
    timeout_seconds: int | None = Field(
        None, ge=1, description="Seconds for one liveness probe; null is 2.", examples=[2]
    )
    success_threshold: int | None = Field(
        None, ge=1, description="Good probes in a row that make a replica live; null is 1.", examples=[1]
    )
    failure_threshold: int | None = Field(
        None, ge=1, description="Bad probes in a row that make a replica dead; null is 3.", examples=[3]
    )
    namespace: DnsLabel | None = Field(None, description="Kubernetes namespace of the service.", examples=["models"])
    token_auth_enabled: bool | None = Field(
        None, description="Ask callers for a Microsoft Entra token.", examples=[False]
    )
    primary_key: SecretStr | None = Field(
        None, description="First key of the service; take it from the environment.", examples=["${PRIMARY_KEY}"]
    )
    secondary_key: SecretStr | None = Field(
        None, description="Second key of the service; take it from the environment.", examples=["${SECONDARY_KEY}"]
    )

    def mistakes(self) -> Iterator[Mistake]:
        """The rules of AksWebservice.deploy_configuration."""
        if self.auth_enabled and self.token_auth_enabled:
            yield Mistake(("token_auth_enabled",), "must not be true together with auth_enabled")
        fewest, most = self.autoscale_min_replicas, self.autoscale_max_replicas
        if fewest and most and fewest > most:
            yield Mistake(("autoscale_min_replicas",), f"must be at most autoscale_max_replicas ({most})")
        enabled = (("autoscale_enabled",),)
        if self.autoscale_enabled and self.num_replicas:
            yield Mistake(("num_replicas",), "must be null when autoscale_enabled is true", enabled)
        if self.autoscale_enabled is False and self.num_replicas is None:
            yield Mistake(("num_replicas",), "is required when autoscale_enabled is false", enabled)
        if not self.autoscale_enabled:
            for name in ("min_replicas", "max_replicas", "refresh_seconds", "target_utilization"):
                if getattr(self, f"autoscale_{name}") is not None:
                    yield Mistake((f"autoscale_{name}",), "must be null unless autoscale_enabled is true", enabled)


class LoadObjectives(Section):
    """What the test service has to reach under load; the load test is off when none is set."""

    latency_p50_ms: float | None = Field(
        None, gt=0, description="Most milliseconds within which half of the requests are answered.", examples=[50]
    )
    latency_p95_ms: float | None = Field(
        None, gt=0, description="Most milliseconds within which 95 of 100 requests are answered.", examples=[200]
    )
    latency_p99_ms: float | None = Field(
        None, gt=0, description="Most milliseconds within which 99 of 100 requests are answered.", examples=[500]
    )
    min_requests_per_second: float | None = Field(
        None, gt=0, description="Fewest answers a second, errors not counted.", examples=[20]
    )
    max_error_rate: float | None = Field(
        None, ge=0, lt=1, description="Largest share of requests that are not answered with 200.", examples=[0]
    )


class LoadSettings(Section):
    """How the test service is loaded. It ends with the first of `requests` and `seconds` that is reached."""

    requests: int = Field(500, ge=20, le=1_000_000, description="Requests, at most.", examples=[500])
    seconds: float = Field(30, gt=0, le=3600, description="Seconds, at most.", examples=[30])
    concurrency: int = Field(2, ge=1, le=256, description="Callers that ask one after the other.", examples=[2])


class AksTestServiceSettings(_AksServiceSettings):
    """The test service: azureml.core.webservice.AksWebservice.deploy_configuration."""

    name: ServiceName = Field("model-test", description="Name of the service.", examples=["diabetes-test"])
    objectives: LoadObjectives = Field(
        default_factory=LoadObjectives,
        description="What the service has to reach under load.",
        examples=[{"latency_p95_ms": 200, "max_error_rate": 0}],
    )
    load: LoadSettings = Field(
        default_factory=LoadSettings, description="How it is loaded.", examples=[{"requests": 500, "concurrency": 2}]
    )


class CanarySettings(Section):
    """How a canary release goes on. A step ends with the first of its requests and seconds that is reached."""

    steps: tuple[Annotated[int, Field(ge=1, le=100)], ...] = Field(
        (10, 50, 100), description="Percent of the traffic that the new version takes, step by step.", examples=[[10]]
    )
    requests_per_step: int = Field(
        200,
        ge=20,
        le=1_000_000,
        description="Requests that are sent to each of the new version, the former one and the endpoint in a step.",
        examples=[200],
    )
    seconds_per_step: float = Field(
        3600, gt=0, le=86400, description="Seconds after which a step ends, whatever was sent.", examples=[600]
    )
    requests_per_second: float | None = Field(
        None, gt=0, description="Most requests a second to each; null is one after the other.", examples=[5]
    )
    max_error_rate: float = Field(
        0.0, ge=0, lt=1, description="Largest share of requests that are not answered with 200.", examples=[0.01]
    )
    max_latency_ratio: float = Field(
        2.0,
        ge=1,
        description="How many times as long as the former version the new one may take (95 of 100 requests).",
        examples=[1.5],
    )
    unnoticed_ms: float = Field(
        20, ge=0, description="Milliseconds by which the new version may always be slower.", examples=[20]
    )

    def mistakes(self) -> Iterator[Mistake]:
        if not self.steps:
            yield Mistake(("steps",), "must have at least one step")
        for position, (percent, following) in enumerate(zip(self.steps, self.steps[1:], strict=False), start=1):
            if following <= percent:
                yield Mistake(("steps", position), f"must be more than the step before it ({percent})")


class AksProdServiceSettings(_AksServiceSettings):
    """The production service: AksWebservice.deploy_configuration, or AksEndpoint's with strategy canary."""

    name: ServiceName = Field("model-prod", description="Name of the service.", examples=["diabetes-prod"])
    strategy: Literal["replace", "canary"] = Field(
        "replace",
        description="Update the service in place, or let a new version take the traffic step by step (AksEndpoint). "
        "A service cannot be turned from one into the other.",
        examples=["canary"],
    )
    canary: CanarySettings = Field(
        default_factory=CanarySettings,
        description="Steps and bounds of the strategy canary.",
        examples=[{"steps": [10, 50, 100], "requests_per_step": 200}],
    )
    approval: Literal["none", "required"] = Field(
        "none", description="Whether a person has to approve in Prefect's UI before production.", examples=["required"]
    )
    approval_minutes: float = Field(
        1440, gt=0, le=43200, description="Minutes after which an approval that nobody gave expires.", examples=[60]
    )


class ProfilingSettings(Section):
    """Upper bounds of what the model's profile may ask for one replica; null is no bound."""

    max_cpu_cores: float | None = Field(None, gt=0, description="Most CPU cores.", examples=[2])
    max_memory_gb: float | None = Field(None, gt=0, description="Most memory, in GB.", examples=[4])


class SampleSettings(Section):
    """A request and the answer to it, as files within endpoint_tests.source_directory."""

    request: RelativePath = Field(description="The request, a JSON file.", examples=["one_patient.json"])
    expected: RelativePath | None = Field(
        None,
        description="The expected answer, a JSON file; null leaves the judgement to entry_script.",
        examples=["one_patient_expected.json"],
    )
    relative_tolerance: float = Field(
        1e-6, ge=0, description="How far a number may be from the expected one, relative to it.", examples=[0.05]
    )


class EndpointTestSettings(Section):
    """How every deployed service is tested: a sample is sent, and your script checks the answer."""

    source_directory: RelativePath = Field(
        "code/testing", description="Directory of the sample and of the checks.", examples=["code/testing"]
    )
    entry_script: RelativePath = Field(
        "check.py", description="The script that checks the answer, within source_directory.", examples=["check.py"]
    )
    sample: RelativePath = Field(
        "sample_request.json",
        description="The request that is sent, within source_directory.",
        examples=["sample.json"],
    )
    samples: dict[Text, SampleSettings] = Field(
        {},
        description="Further requests by a name of yours, with their expected answers.",
        examples=[{"one patient": {"request": "one_patient.json", "expected": "one_patient_expected.json"}}],
    )
    wrong_input: bool = Field(
        True,
        description="Send requests of wrong shapes, made from the sample, and expect a 4xx and not a 500.",
        examples=[True],
    )
    timeout_seconds: int = Field(30, ge=1, le=3600, description="Seconds for one answer.", examples=[30])


class DeploymentSettings(Section):
    """The model and the services that it climbs through."""

    model: ModelSettings = Field(description="Model.", examples=[{"name": "diabetes-ridge"}])
    image: ImageSettings = Field(default_factory=ImageSettings, description="Image.", examples=[{"runtime": "python"}])
    dev_deployment: AciServiceSettings = Field(
        default_factory=AciServiceSettings, description="Dev.", examples=[{"name": "diabetes-dev"}]
    )
    test_deployment: AksTestServiceSettings = Field(
        default_factory=AksTestServiceSettings, description="Test.", examples=[{"name": "diabetes-test"}]
    )
    prod_deployment: AksProdServiceSettings = Field(
        default_factory=AksProdServiceSettings, description="Production.", examples=[{"name": "diabetes-prod"}]
    )
    profiling: ProfilingSettings = Field(
        default_factory=ProfilingSettings, description="Bounds of the profile.", examples=[{"max_cpu_cores": 2}]
    )
    endpoint_tests: EndpointTestSettings = Field(
        default_factory=EndpointTestSettings, description="Tests of the services.", examples=[{"timeout_seconds": 30}]
    )

    def mistakes(self) -> Iterator[Mistake]:
        taken: dict[str, str] = {}
        for stage in ("dev_deployment", "test_deployment", "prod_deployment"):
            name = getattr(self, stage).name
            if name in taken:
                rule = f"must not be the name of {taken[name]}: a workspace has each name once"
                yield Mistake((stage, "name"), rule, ((taken[name], "name"),))
            taken.setdefault(name, stage)
