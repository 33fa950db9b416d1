"""Evaluation: find the model that production serves, and hold the candidate against it."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from settings.deployment import DeploymentSettings, TestSetSettings
from settings.workspace import WorkspaceTarget
from tasks.comparison import TestSet, compare
from tasks.endpoint_tests import read_key
from tasks.errors import MlopsError, TestSetError, http_status
from tasks.gate.predictions import answered, parse
from tasks.operation import azure_operation, explained
from tasks.progress import report
from tasks.training import read_metrics
from tasks.values import Comparison, ModelVersion, Production, TrainedRun
from tasks.workspace import open_workspace

if TYPE_CHECKING:
    from azureml.core import Model, Workspace

STAGE_TAG = "stage"
PRODUCTION = "production"


def production_model(target: WorkspaceTarget, deployment: DeploymentSettings) -> ModelVersion | None:
    """The version of our model that production serves, as ``find_production`` finds it."""
    return find_production(target, deployment).model


def find_production(target: WorkspaceTarget, deployment: DeploymentSettings) -> Production:
    """What production serves: the service knows; where there is no service, the models' tags are asked.

    Raises:
        MlopsError: the service serves no version of this model, or the version does not say which run made it.
    """
    workspace = open_workspace(target)
    service_name, model_name = deployment.prod_deployment.name, deployment.model.name
    with explained(
        MlopsError, f"ask which model service '{service_name}' serves", "Look at it in the Azure ML studio."
    ):
        service = find_service(workspace, service_name)
        tagged = _tagged(workspace, model_name)
        served = [model for model in served_models(service) if model.name == model_name]
    if service is not None and not served:
        raise MlopsError(
            f"The production service '{service_name}' serves no version of model '{model_name}'.",
            "Correct deployment.model.name or deployment.prod_deployment.name in the settings.",
        )
    found = max(served or tagged, key=lambda model: int(model.version), default=None)
    return Production(
        model=None if found is None else model_version(workspace, found),
        served=service is not None,
        notes=disagreement(
            service_name,
            model_name,
            int(found.version) if found is not None and served else None,
            sorted(int(model.version) for model in tagged),
        ),
    )


def _tagged(workspace: Workspace, model_name: str) -> list[Model]:
    from azureml.core import Model

    return list(Model.list(workspace, name=model_name, tags=[[STAGE_TAG, PRODUCTION]]))


def disagreement(service_name: str, model_name: str, served: int | None, tagged: Sequence[int]) -> tuple[str, ...]:
    """A sentence when the service and the models' tags do not say the same.

    Args:
        served: the version that the service serves; None when there is no service.
        tagged: the versions with the tag ``stage=production``.
    """
    if list(tagged) == ([] if served is None else [served]):
        return ()
    versions = f"version {' and '.join(map(str, tagged))}" if tagged else "no version"
    said = f"but the tag {STAGE_TAG}={PRODUCTION} is on {versions} of {model_name}"
    if served is None:
        return (f"there is no service '{service_name}', {said}, which is taken for production's",)
    return (f"service '{service_name}' serves version {served}, {said}; what the service serves counts",)


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
    if service is None:
        return []
    return list((default_version(service) if is_endpoint(service) else service).models or ())


def is_endpoint(service: Any) -> bool:
    """Whether a service is an AksEndpoint: only those have versions."""
    return hasattr(service, "versions")


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
    """The gate over what production serves now, on the candidate's test data where the settings name it.

    Raises:
        MetricNotLogged, MetricNotFinite: a listed metric cannot be compared.
        TestSetError: the predictions on the test data are not there, or production cannot be scored on it.
    """
    parameters = deployment.model.evaluation_parameters
    production = find_production(target, deployment)
    test_set, notes = None, production.notes
    if parameters.test_set is not None:
        test_set = _test_set(target, deployment.prod_deployment.name, parameters.test_set, candidate, production)
        if test_set.scored_again:
            notes += ("production was scored again, on the candidate's test data: its own run was judged on other",)
    comparison = compare(candidate, production.model, parameters, test_set, notes)
    report("better" if comparison.promote else "not better")
    return comparison


def _test_set(
    target: WorkspaceTarget,
    service_name: str,
    settings: TestSetSettings,
    candidate: TrainedRun,
    production: Production,
) -> TestSet:
    text = _output(target, candidate.run_id, settings.predictions)
    if text is None:
        raise TestSetError(
            f"Run '{candidate.run_id}' has no file '{settings.predictions}'.",
            "Let the training script write its predictions there, or leave "
            "deployment.model.evaluation_parameters.test_set out.",
        )
    asked = parse(text, f"run '{candidate.run_id}'")
    if production.model is None or production.model.run_id == candidate.run_id:
        return TestSet(asked, None)
    text = _output(target, production.model.run_id, settings.predictions)
    if text is not None:
        known = parse(text, f"run '{production.model.run_id}'")
        if known.fingerprint == asked.fingerprint:
            return TestSet(asked, known.in_order_of(asked.ids))
    if not production.served:
        raise TestSetError(
            f"Production's model {production.model.name}:{production.model.version} was judged on other test data, and "
            f"there is no service '{service_name}' to score it on the candidate's.",
            "Bring the production service back.",
        )
    requests = _output(target, candidate.run_id, settings.requests)
    if requests is None:
        raise TestSetError(
            f"Production must be scored on the candidate's test data, but run '{candidate.run_id}' has no file "
            f"'{settings.requests}'.",
            "Let the training script write the requests there.",
        )
    report("scoring production on the candidate's test data")
    answers = _answers(target, service_name, requests.splitlines(), settings.timeout_seconds)
    return TestSet(asked, answered(asked, answers, f"Service '{service_name}'"), scored_again=True)


def _output(target: WorkspaceTarget, run_id: str, name: str) -> str | None:
    """The text of a file that a run has left; None when it has left none of that name."""
    from azureml.core import Run

    what = f"read '{name}' of run '{run_id}'"
    with explained(TestSetError, what, "Look at the run in the studio."), tempfile.TemporaryDirectory() as directory:
        run = Run.get(open_workspace(target), run_id)
        if name not in run.get_file_names():
            return None
        path = Path(directory, "output")
        run.download_file(name, str(path))
        return path.read_text(encoding="utf-8")


def _answers(target: WorkspaceTarget, service_name: str, bodies: Sequence[str], seconds: float) -> list[object]:
    """What a service predicts for each request, one after the other."""
    import requests

    what = f"score service '{service_name}' on the candidate's test data"
    predictions: list[object] = []
    with explained(TestSetError, what, "Look at the service's log."), requests.Session() as session:
        service = find_service(open_workspace(target), service_name)
        session.headers["Content-Type"] = "application/json"
        if service.auth_enabled or getattr(service, "token_auth_enabled", False):
            session.headers["Authorization"] = f"Bearer {read_key(target, service_name)}"
        for body in filter(str.strip, bodies):
            answer = session.post(service.scoring_uri, data=body.encode(), timeout=seconds)
            answer.raise_for_status()
            found = answer.json()
            if not isinstance(found, list):
                raise TestSetError(
                    f"Service '{service_name}' answered a request of the candidate's test data with no list of "
                    "predictions.",
                    "Let the scoring script answer with one prediction per row, or leave test_set out.",
                )
            predictions += found
    return predictions


production_model_task = azure_operation("production")(production_model)
evaluate_task = azure_operation("evaluation")(evaluate)
