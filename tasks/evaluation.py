"""Evaluation: find the model that production serves, and hold the candidate against it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from settings.deployment import DeploymentSettings
from settings.workspace import WorkspaceTarget
from tasks.comparison import compare
from tasks.errors import MlopsError, http_status
from tasks.operation import azure_operation, explained
from tasks.progress import report
from tasks.training import read_metrics
from tasks.values import Comparison, ModelVersion, TrainedRun
from tasks.workspace import open_workspace

if TYPE_CHECKING:
    from azureml.core import Model, Workspace


def production_model(target: WorkspaceTarget, deployment: DeploymentSettings) -> ModelVersion | None:
    """The version of our model that the production service serves; None when there is no such service.

    Raises:
        MlopsError: the service serves no version of this model, or the version does not say which run made it.
    """
    workspace = open_workspace(target)
    service_name, model_name = deployment.prod_deployment.name, deployment.model.name
    with explained(
        MlopsError, f"ask which model service '{service_name}' serves", "Look at it in the Azure ML studio."
    ):
        service = find_service(workspace, service_name)
        if service is None:
            return None
        models = [model for model in served_models(service) if model.name == model_name]
    if not models:
        raise MlopsError(
            f"The production service '{service_name}' serves no version of model '{model_name}'.",
            "Correct deployment.model.name or deployment.prod_deployment.name in the settings.",
        )
    return model_version(workspace, max(models, key=lambda model: int(model.version)))


def find_service(workspace: Workspace, name: str) -> Any:
    """The web service of that name, or None."""
    from azureml.core.webservice import Webservice
    from azureml.exceptions import WebserviceException

    try:
        return Webservice(workspace, name)
    except WebserviceException as error:
        if "WebserviceNotFound" in str(error) or http_status(error) == 404:
            return None
        raise


def served_models(service: Any) -> list[Model]:
    """The models of a service; of an endpoint those of its default version, which serves whatever no other does."""
    return list((default_version(service) if is_endpoint(service) else service).models or ())


def is_endpoint(service: Any) -> bool:
    """Whether a service is an AksEndpoint, which has versions."""
    from azureml.core.webservice import AksEndpoint

    return isinstance(service, AksEndpoint)


def default_version(endpoint: Any) -> Any:
    """The version of an AksEndpoint that takes the traffic which no other version is said to take."""
    return next(version for version in endpoint.versions.values() if version.is_default)


def model_version(workspace: Workspace, model: Model) -> ModelVersion:
    """A registered model as a value, with the metrics of its run.

    Raises:
        MlopsError: it does not say which run made it.
    """
    from azureml.core import Run

    if model.run_id is None:
        raise MlopsError(
            f"Model {model.name}:{model.version}, which production serves, does not say which run made it.",
            "Register production's model from a run, or delete the service to start anew.",
        )
    with explained(MlopsError, f"read the metrics of run '{model.run_id}'", "Look at it in the Azure ML studio."):
        run = Run.get(workspace, model.run_id)
        return ModelVersion(
            name=model.name,
            version=int(model.version),
            run_id=model.run_id,
            experiment=run.experiment.name,
            metrics=read_metrics(run),
        )


def evaluate(target: WorkspaceTarget, deployment: DeploymentSettings, candidate: TrainedRun) -> Comparison:
    """The gate over what production serves now.

    Raises:
        MetricNotLogged, MetricNotFinite: a listed metric cannot be compared.
    """
    metrics = deployment.model.evaluation_parameters
    production = production_model(target, deployment)
    comparison = compare(candidate, production, metrics.larger_is_better, metrics.smaller_is_better)
    report("better" if comparison.promote else "not better")
    return comparison


evaluate_task = azure_operation("evaluation")(evaluate)
