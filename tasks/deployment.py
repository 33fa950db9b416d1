"""Deployment: a model version becomes a web service, on ACI for dev and on AKS for test and production.

Azure: https://learn.microsoft.com/azure/machine-learning/v1/how-to-deploy-and-where; SDK: ``Model.deploy``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from settings.deployment import DeploymentSettings
from settings.workspace import WorkspaceTarget
from tasks.errors import DeploymentError, http_status
from tasks.evaluation import find_service, served_models
from tasks.operation import azure_operation, explained, first_sentences
from tasks.progress import report
from tasks.values import FLOW_RUN_TAG, Endpoint, ModelVersion, ReadyCompute, RegisteredModel, Resources, Scoring
from tasks.workspace import open_workspace

if TYPE_CHECKING:
    from azureml.core import Model, Workspace
    from azureml.core.model import InferenceConfig
    from azureml.core.webservice import Webservice

Stage = Literal["dev", "test", "prod"]
STAGES_FOR_TESTS: tuple[Stage, ...] = ("dev", "test")
"""Their services are removed after their tests."""

_PURPOSES: dict[Stage, Literal["DEV_TEST", "FAST_PROD"] | None] = {"dev": None, "test": "DEV_TEST", "prod": "FAST_PROD"}
_LOG_LINES = 30

# Options of a service by the names that the SDK's deploy_configuration has for them.
_ACI_OPTIONS = (
    "auth_enabled",
    "ssl_enabled",
    "ssl_cert_pem_file",
    "ssl_key_pem_file",
    "ssl_cname",
    "enable_app_insights",
    "location",
    "dns_name_label",
)
_AKS_OPTIONS = (
    "autoscale_enabled",
    "autoscale_min_replicas",
    "autoscale_max_replicas",
    "autoscale_refresh_seconds",
    "autoscale_target_utilization",
    "collect_model_data",
    "auth_enabled",
    "token_auth_enabled",
    "enable_app_insights",
    "scoring_timeout_ms",
    "replica_max_concurrent_requests",
    "max_request_wait_time",
    "num_replicas",
    "gpu_cores",
    "period_seconds",
    "initial_delay_seconds",
    "timeout_seconds",
    "success_threshold",
    "failure_threshold",
    "namespace",
)


def deploy(
    target: WorkspaceTarget,
    deployment: DeploymentSettings,
    stage: Stage,
    model: RegisteredModel | ModelVersion,
    scoring: Scoring,
    resources: Resources | None,
    cluster: ReadyCompute | None,
    minutes: float,
    flow_run_id: str | None = None,
) -> Endpoint:
    """Serve a model version on a stage, and wait until the service is healthy.

    Production is updated in place, so that its address and keys stay and no request fails. What a broken run left of a
    dev or test service is removed first.

    Args:
        resources: of one replica, unless the settings name them; None leaves them as they are in production.
        cluster: the AKS cluster; None for dev.
        minutes: the deadline.
        flow_run_id: whom the service is made for, as a tag of it.

    Raises:
        DeploymentError: Azure refuses it, or it does not get healthy in time; carries the end of the service's log.
    """
    workspace = open_workspace(target)
    name = service_name(deployment, stage)
    what = f"deploy model {model.name}:{model.version} as service '{name}'"
    with explained(DeploymentError, what, f"Check deployment.{stage}_deployment in the settings."):
        versions = [registered_model(workspace, model)]
        inference = inference_configuration(workspace, scoring)
        service = find_service(workspace, name)
        if service is not None and stage != "prod":
            report("removing what an earlier run left")
            service.delete()
            service = None
        if service is None:
            report("creating")
            service = _create(workspace, deployment, stage, versions, inference, resources, cluster, flow_run_id)
        else:
            report("updating")
            service.update(models=versions, inference_config=inference, **aks_values(deployment, stage, resources))
    wait_until_healthy(service, minutes)
    report(service.state)
    return endpoint_of(service, stage)


def registered_model(workspace: Workspace, model: RegisteredModel | ModelVersion) -> Model:
    """The SDK's object of a model version."""
    from azureml.core import Model

    return Model(workspace, model.name, version=model.version)


def service_name(deployment: DeploymentSettings, stage: Stage) -> str:
    """The name of a stage's service in the settings."""
    name: str = getattr(deployment, f"{stage}_deployment").name
    return name


def inference_configuration(workspace: Workspace, scoring: Scoring) -> InferenceConfig:
    """The scoring script with its directory and environment; the same for the profile and every stage.

    Raises:
        DeploymentError: the scoring script is not there.
    """
    from azureml.core import Environment
    from azureml.core.model import InferenceConfig

    script = Path(scoring.source_directory) / scoring.entry_script
    if not script.is_file():
        raise DeploymentError(
            f"The scoring script {script} is not there.",
            "Correct deployment.image.source_directory and deployment.image.entry_script in the settings.",
        )
    return InferenceConfig(
        entry_script=scoring.entry_script,
        source_directory=scoring.source_directory,
        environment=Environment.get(workspace, scoring.environment.name, scoring.environment.version),
    )


def _create(
    workspace: Workspace,
    deployment: DeploymentSettings,
    stage: Stage,
    models: list[Model],
    inference: InferenceConfig,
    resources: Resources | None,
    cluster: ReadyCompute | None,
    flow_run_id: str | None,
) -> Webservice:
    from azureml.core import Model
    from azureml.core.compute import AksCompute
    from azureml.core.webservice import AciWebservice, AksWebservice

    image = deployment.image
    tags = {**image.tags, **({FLOW_RUN_TAG: flow_run_id} if flow_run_id else {})}
    described = {"tags": tags, "properties": dict(image.properties), "description": image.description}
    if cluster is None:
        configuration = AciWebservice.deploy_configuration(
            **_given(deployment.dev_deployment, _ACI_OPTIONS), **_resources(deployment, stage, resources), **described
        )
        compute = None
    else:
        settings = getattr(deployment, f"{stage}_deployment")
        configuration = AksWebservice.deploy_configuration(
            **aks_values(deployment, stage, resources), **given_keys(settings), **described
        )
        compute = AksCompute(workspace, cluster.name)
    return Model.deploy(
        workspace, service_name(deployment, stage), models, inference, configuration, deployment_target=compute
    )


def aks_values(deployment: DeploymentSettings, stage: Stage, resources: Resources | None) -> dict[str, Any]:
    """The options of a stage's service on AKS, by the names that the SDK has for them."""
    settings = getattr(deployment, f"{stage}_deployment")
    return {**_given(settings, _AKS_OPTIONS), **_resources(deployment, stage, resources)}


def _given(settings: Any, options: tuple[str, ...]) -> dict[str, Any]:
    values = {name: getattr(settings, name) for name in options}
    return {name: value for name, value in values.items() if value is not None}


def given_keys(settings: Any) -> dict[str, str]:
    """The keys that the settings want a service to be made with; later it keeps those that it has."""
    keys = {name: getattr(settings, name) for name in ("primary_key", "secondary_key")}
    return {name: key.get_secret_value() for name, key in keys.items() if key is not None}


def _resources(deployment: DeploymentSettings, stage: Stage, resources: Resources | None) -> dict[str, float]:
    settings = getattr(deployment, f"{stage}_deployment")
    wanted = {
        "cpu_cores": settings.cpu_cores or (resources.cpu if resources else None),
        "memory_gb": settings.memory_gb or (resources.memory_gb if resources else None),
    }
    return {name: value for name, value in wanted.items() if value is not None}


def wait_until_healthy(service: Webservice, minutes: float) -> None:
    """Wait for the operation that the SDK has just started on this service.

    Raises:
        DeploymentError: it failed, or did not end in time, or the service is not healthy after it.
    """
    report("waiting until healthy")
    from azureml.exceptions import WebserviceException

    ended_well = True
    with explained(DeploymentError, f"watch service '{service.name}'", "Look at it in the Azure ML studio."):
        try:
            service.wait_for_deployment(show_output=False, timeout_sec=minutes * 60)
        except WebserviceException as error:
            if http_status(error) is not None:
                raise
            ended_well = False
        service.update_deployment_state()
    if not ended_well or service.state != "Healthy":
        # A service that was updated in vain is healthy all the same: it serves what it served before.
        raise DeploymentError(
            f"Service '{service.name}' did not get healthy with the new model within {minutes:g} minutes"
            f"{first_sentences((service.error or {}).get('message'))}.",
            "Mend what its log says, usually in the scoring script or its packages.",
            log_tail=_log_tail(service),
        )


def service_log(target: WorkspaceTarget, name: str) -> str | None:
    """The end of a service's log; None when it is empty or the service is not there.

    Raises:
        DeploymentError: Azure refuses.
    """
    service = find_service(open_workspace(target), name)
    return None if service is None else _log_tail(service)


def _log_tail(service: Webservice) -> str | None:
    with explained(DeploymentError, f"read the log of service '{service.name}'", "Look at it in the studio."):
        text = service.get_logs() or ""
    return "\n".join(text.splitlines()[-_LOG_LINES:]) or None


def find_endpoint(target: WorkspaceTarget, deployment: DeploymentSettings, stage: Stage) -> Endpoint | None:
    """The service of a stage as it is now; None when there is none.

    Raises:
        DeploymentError: Azure does not say.
    """
    name = service_name(deployment, stage)
    with explained(DeploymentError, f"ask for service '{name}'", "Look at it in the Azure ML studio."):
        service = find_service(open_workspace(target), name)
    return None if service is None else endpoint_of(service, stage)


def endpoint_of(service: Webservice, stage: Stage) -> Endpoint:
    """A service as a value."""
    return Endpoint(
        stage=stage,
        service=service.name,
        compute_type="ACI" if stage == "dev" else "AKS",
        cluster_purpose=_PURPOSES[stage],
        state=service.state,
        scoring_uri=service.scoring_uri,
        swagger_uri=service.swagger_uri,
        auth_enabled=bool(service.auth_enabled or getattr(service, "token_auth_enabled", False)),
        model_ids=tuple(model.id for model in served_models(service)),
    )


def delete_service(target: WorkspaceTarget, name: str) -> None:
    """Remove a service that has done its work; one that is not there is no mistake.

    Raises:
        DeploymentError: Azure refuses.
    """
    with explained(DeploymentError, f"delete service '{name}'", "Delete it in the Azure ML studio: it costs money."):
        service = find_service(open_workspace(target), name)
        if service is not None:
            service.delete()


deploy_task = azure_operation("deployment", lasting=True)(deploy)
delete_service_task = azure_operation("delete service")(delete_service)
find_endpoint_task = azure_operation("find service")(find_endpoint)
service_log_task = azure_operation("service log")(service_log)
