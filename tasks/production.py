"""What a release finds: production of the right kind, and nothing that an earlier run has half made or left over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from settings.deployment import DeploymentSettings
from settings.workspace import WorkspaceTarget
from tasks.canary import keep_only
from tasks.deployment import STAGES_FOR_TESTS, service_name
from tasks.errors import DeploymentError
from tasks.evaluation import PRODUCTION, STAGE_TAG, find_service, is_endpoint, served_models
from tasks.operation import azure_operation, explained
from tasks.progress import report
from tasks.waiting import poll
from tasks.workspace import open_workspace

if TYPE_CHECKING:
    from azureml.core.webservice import Webservice


def check_kind(service: Any, deployment: DeploymentSettings) -> None:
    """See that production is of the kind that the strategy of the settings makes.

    Raises:
        DeploymentError: it is of the other kind, and Azure cannot turn one into the other.
    """
    settings = deployment.prod_deployment
    if service is None or is_endpoint(service) == (settings.strategy == "canary"):
        return
    found, kind = ("an AksEndpoint", "canary") if is_endpoint(service) else ("an AksWebservice", "replace")
    raise DeploymentError(
        f"Production service '{settings.name}' is {found}, as the strategy {kind} makes it; the settings want "
        f"{settings.strategy}, and Azure cannot turn one into the other.",
        f"Set deployment.prod_deployment.strategy to {kind}; or give deployment.prod_deployment another name, release "
        f"there, move the callers, and delete '{settings.name}'.",
    )


def settle_production(target: WorkspaceTarget, deployment: DeploymentSettings, minutes: float) -> None:
    """Put production into a state that a release can start from, whatever an earlier run was killed in.

    A change that is going on is waited for, a version of an endpoint that never became the default is removed, and so
    is a service that never came up and serves no released model. As releases take turns, nobody uses a service for
    tests now: one that is there was left over.

    Raises:
        DeploymentError: it is of another kind than the settings want.
        OperationTimeout: a change did not end in time.
    """
    name = deployment.prod_deployment.name
    what = f"look at production service '{name}'"
    with explained(DeploymentError, what, "Look at it in the Azure ML studio."):
        workspace = open_workspace(target)
        service = find_service(workspace, name)
        check_kind(service, deployment)
        for stage in STAGES_FOR_TESTS:
            left = find_service(workspace, service_name(deployment, stage))
            if left is not None:
                report(f"removing {left.name}, which an earlier run left")
                left.delete()
        if service is None:
            return
        poll(lambda: _state(service), lambda state: state != "Transitioning", what=what, minutes=minutes)
        released = any(model.tags.get(STAGE_TAG) == PRODUCTION for model in served_models(service))
        if service.state == "Failed" and not released:
            report("removing what never came up")
            service.delete()
        elif is_endpoint(service) and len(service.versions) > 1:
            report("ending a canary release that was broken off")
            default = next(name for name, version in service.versions.items() if version.is_default)
            keep_only(service, default, minutes)


def _state(service: Webservice) -> str:
    service.update_deployment_state()
    return str(service.state)


settle_production_task = azure_operation("settle production", lasting=True)(settle_production)
