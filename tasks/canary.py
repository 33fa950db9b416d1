"""Canary releases: a new version beside the former one, behind one address, with ever more of the traffic.

The endpoint's default version takes whatever the other versions do not: so the only number that is ever changed is the
percentage of the new version, and what a killed run leaves behind is put right by making one version the only one.

Azure: https://learn.microsoft.com/azure/machine-learning/v1/how-to-deploy-azure-kubernetes-service (versions of an
endpoint); SDK: ``AksEndpoint``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from settings.deployment import CanarySettings, DeploymentSettings
from settings.workspace import WorkspaceTarget
from tasks.deployment import (
    aks_values,
    endpoint_of,
    given_keys,
    inference_configuration,
    registered_model,
    wait_until_healthy,
)
from tasks.endpoint_tests import json_file, request_headers
from tasks.errors import DeploymentError
from tasks.evaluation import default_version, find_service
from tasks.load import Asked, ask_in_turn
from tasks.operation import azure_operation, explained
from tasks.progress import report
from tasks.values import CanaryStep, Endpoint, Load, ModelVersion, ReadyCompute, RegisteredModel, Resources, Scoring
from tasks.workspace import open_workspace

if TYPE_CHECKING:
    from azureml.core.webservice import AksEndpoint

_WARM_UP_REQUESTS = 10
# AksEndpoint has these for all its versions; create_version does not take them.
_OF_THE_ENDPOINT = ("auth_enabled", "token_auth_enabled", "enable_app_insights", "namespace")


def version_name(model: RegisteredModel | ModelVersion) -> str:
    """What the endpoint calls the version that serves this model: the same after a restart, so that it is found."""
    return f"version-{model.version}"


def deploy_version(
    target: WorkspaceTarget,
    deployment: DeploymentSettings,
    model: RegisteredModel | ModelVersion,
    scoring: Scoring,
    resources: Resources | None,
    cluster: ReadyCompute,
    minutes: float,
) -> Endpoint:
    """Bring a model up as a version of the production endpoint without any traffic, unless it is there already.

    The first version of a new endpoint is its default, and takes all traffic.

    Args:
        resources: of one replica; None for those of the default version.
        minutes: the deadline of each operation.

    Returns:
        the version, with an address of its own.

    Raises:
        DeploymentError: Azure refuses it, or it does not get healthy in time; carries the end of its log.
    """
    from azureml.core import Model
    from azureml.core.compute import AksCompute
    from azureml.core.webservice import AksEndpoint

    workspace, settings = open_workspace(target), deployment.prod_deployment
    name = version_name(model)
    what = f"deploy model {model.name}:{model.version} as version '{name}' of endpoint '{settings.name}'"
    with explained(DeploymentError, what, "Check deployment.prod_deployment in the settings."):
        models, inference = [registered_model(workspace, model)], inference_configuration(workspace, scoring)
        endpoint = find_service(workspace, settings.name)
        if endpoint is None:
            report("creating")
            configuration = AksEndpoint.deploy_configuration(
                version_name=name,
                traffic_percentile=0,
                **aks_values(deployment, "prod", resources),
                **given_keys(settings),
                **_description(deployment),
            )
            compute = AksCompute(workspace, cluster.name)
            endpoint = Model.deploy(
                workspace, settings.name, models, inference, configuration, deployment_target=compute
            )
            wait_until_healthy(endpoint, minutes)
        elif name not in endpoint.versions:
            report("creating")
            _create_version(endpoint, deployment, name, models, inference, resources, minutes)
    report("Healthy")
    return _version_endpoint(endpoint, name)


def _create_version(
    endpoint: AksEndpoint,
    deployment: DeploymentSettings,
    name: str,
    models: list[Any],
    inference: Any,
    resources: Resources | None,
    minutes: float,
) -> None:
    values = aks_values(deployment, "prod", resources or _resources_of(default_version(endpoint)))
    size = {option: values.pop(option) for option in ("cpu_cores", "memory_gb")}
    options = {option: value for option, value in values.items() if option not in _OF_THE_ENDPOINT}
    endpoint.create_version(
        name,
        models=models,
        inference_config=inference,
        traffic_percentile=0,
        **options,
        **_description(deployment),
    )
    wait_until_healthy(endpoint, minutes)
    endpoint.update_version(name, **size)  # create_version raises AttributeError when it is given these
    wait_until_healthy(endpoint, minutes)


def _resources_of(version: Any) -> Resources:
    requirements = version.container_resource_requirements
    return Resources(cpu=requirements.cpu, memory_gb=requirements.memory_in_gb)


def _description(deployment: DeploymentSettings) -> dict[str, Any]:
    image = deployment.image
    return {"tags": dict(image.tags), "properties": dict(image.properties), "description": image.description}


def _version_endpoint(endpoint: AksEndpoint, name: str) -> Endpoint:
    """A version as a service that can be asked for itself, with the endpoint's keys."""
    version = endpoint.versions[name]
    if not version.scoring_uri:
        raise DeploymentError(
            f"Version '{name}' of endpoint '{endpoint.name}' has no address of its own, so it cannot be tested.",
            "Set deployment.prod_deployment.strategy to replace, under another name of the service.",
        )
    return endpoint_of(endpoint, "prod").model_copy(
        update={
            "state": version.state,
            "scoring_uri": version.scoring_uri,
            "swagger_uri": version.swagger_uri,
            "model_ids": tuple(model.id for model in version.models or ()),
        }
    )


def take_step(
    target: WorkspaceTarget, deployment: DeploymentSettings, model: RegisteredModel, percent: int, minutes: float
) -> CanaryStep:
    """Give a version its percentage of the traffic, and ask it, the former version and the endpoint in turn.

    Raises:
        DeploymentError: the endpoint or the version is not there any more, or Azure refuses the change.
    """
    settings, tests = deployment.prod_deployment, deployment.endpoint_tests
    canary, name = settings.canary, version_name(model)
    with explained(DeploymentError, f"give version '{name}' {percent} percent of the traffic", "Look at the endpoint."):
        endpoint = _endpoint(target, deployment, name)
        endpoint.update_version(name, traffic_percentile=percent)
        wait_until_healthy(endpoint, minutes)
    report(f"{percent} percent")
    body = json_file(Path(tests.source_directory) / tests.sample)
    headers = request_headers(target, endpoint_of(endpoint, "prod"))
    addresses = {
        "candidate": endpoint.versions[name].scoring_uri,
        "former": default_version(endpoint).scoring_uri,
        "endpoint": endpoint.scoring_uri,
    }
    asked = {who: Asked(address, headers, body, tests.timeout_seconds) for who, address in addresses.items()}
    # A replica's first answers are slow on any version, and say nothing of the model.
    ask_in_turn(asked, _WARM_UP_REQUESTS, canary.seconds_per_step, per_second=canary.requests_per_second)
    seen = ask_in_turn(asked, canary.requests_per_step, canary.seconds_per_step, per_second=canary.requests_per_second)
    report(f"p95 {seen['candidate'].p95_ms:g} ms beside {seen['former'].p95_ms:g} ms")
    return CanaryStep(
        percent=percent, **seen, exceeded=tuple(exceeded(seen["candidate"], seen["former"], seen["endpoint"], canary))
    )


def exceeded(candidate: Load, former: Load, endpoint: Load, bounds: CanarySettings) -> Iterator[str]:
    """The bounds that a step did not keep, one sentence each with the numbers."""
    for load, what in ((candidate, "of the new version"), (endpoint, "by the endpoint's address")):
        if load.error_rate > bounds.max_error_rate:
            yield (
                f"{load.error_rate:.2%} of the requests {what} were errors, and {bounds.max_error_rate:.2%} is the "
                f"bound (the first: {load.first_error})"
            )
    most = max(former.p95_ms * bounds.max_latency_ratio, former.p95_ms + bounds.unnoticed_ms)
    if candidate.p95_ms > most:
        yield (
            f"the new version's p95 was {candidate.p95_ms:g} ms beside the former one's {former.p95_ms:g} ms, and "
            f"{most:g} ms is the bound"
        )


def serve_only(
    target: WorkspaceTarget,
    deployment: DeploymentSettings,
    model: RegisteredModel | ModelVersion,
    minutes: float,
) -> Endpoint | None:
    """Let one model's version take all the traffic at once, and remove the others; again is no mistake.

    Returns:
        the endpoint, or None when it has no version of this model.

    Raises:
        DeploymentError: Azure refuses.
    """
    with explained(DeploymentError, f"let model {model.name}:{model.version} serve alone", "Look at the endpoint."):
        endpoint = find_service(open_workspace(target), deployment.prod_deployment.name)
        serving = [
            name
            for name, version in (endpoint.versions if endpoint is not None else {}).items()
            if any((each.name, int(each.version)) == (model.name, model.version) for each in version.models or ())
        ]
        if not serving:
            return None
        keep_only(endpoint, serving[0], minutes)
    return endpoint_of(endpoint, "prod")


def keep_only(endpoint: AksEndpoint, name: str, minutes: float) -> None:
    """Make a version the default, with all that no other takes, and delete the others."""
    version = endpoint.versions[name]
    if not version.is_default or version.traffic_percentile:
        endpoint.update_version(name, traffic_percentile=0, is_default=True)
        wait_until_healthy(endpoint, minutes)
    for other in [each for each in endpoint.versions if each != name]:
        report(f"removing {other}")
        endpoint.delete_version(other)
        wait_until_healthy(endpoint, minutes)


def _endpoint(target: WorkspaceTarget, deployment: DeploymentSettings, version: str) -> AksEndpoint:
    endpoint = find_service(open_workspace(target), deployment.prod_deployment.name)
    if endpoint is None or version not in endpoint.versions:
        raise DeploymentError(
            f"Endpoint '{deployment.prod_deployment.name}' has lost its version '{version}' during the release.",
            "See who else releases to this endpoint, and start the run again.",
        )
    return endpoint


deploy_version_task = azure_operation("deployment of a version", lasting=True)(deploy_version)
take_step_task = azure_operation("canary step", lasting=True)(take_step)
serve_only_task = azure_operation("serve one version", lasting=True)(serve_only)
