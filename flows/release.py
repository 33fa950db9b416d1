"""The release: a registered model is deployed to a stage and tested there; what fails in production is taken back."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from flows.road import Road, explanation
from tasks.deployment import Stage, delete_service_task, deploy_task, service_name
from tasks.endpoint_tests import run_endpoint_tests_task
from tasks.errors import EndpointTestError, MlopsError
from tasks.registration import mark_released_task, scoring_of_task
from tasks.values import Endpoint, ModelVersion, ReadyCompute, RegisteredModel, Resources, Scoring, StageReport


def try_out(
    road: Road,
    stage: Stage,
    model: RegisteredModel,
    scoring: Scoring,
    resources: Resources,
    cluster: ReadyCompute | None,
) -> None:
    """Deploy to a stage that exists for its tests only, test there, and remove the service, well tested or not."""
    try:
        deploy_and_test(road, stage, model, scoring, resources, cluster)
    finally:
        name = service_name(road.settings.deployment, stage)
        road.steps.start(f"remove {stage}", delete_service_task, road.target, name)


def release(
    road: Road,
    former: ModelVersion | None,
    model: RegisteredModel,
    scoring: Scoring,
    resources: Resources,
    cluster: ReadyCompute,
) -> None:
    """Deploy to production, which keeps serving meanwhile; what does not hold there is taken back."""
    try:
        road.production = deploy_and_test(road, "prod", model, scoring, resources, cluster)
    except Exception as error:
        failure = explanation(error)
        if former is None:
            name = service_name(road.settings.deployment, "prod")
            road.steps.run("remove prod", delete_service_task, road.target, name)
            raise
        road.production = bring_back(road, former, resources, cluster, failure)
        road.rolled_back(failure)
    else:
        road.steps.run("mark as production", mark_released_task, road.target, model, former)
        road.outcome = "Promoted"


def bring_back(
    road: Road, former: ModelVersion, resources: Resources, cluster: ReadyCompute, failure: MlopsError
) -> Endpoint:
    """Serve the former model in production again, with the scoring script that it was released with.

    Raises:
        MlopsError: production could not be brought back; says so together with what had failed before.
    """
    try:
        with tempfile.TemporaryDirectory() as directory:
            scoring = road.steps.run("find former", scoring_of_task, road.target, former, Path(directory))
            return deploy_and_test(road, "prod", former, scoring, resources, cluster, "roll back prod")
    except MlopsError as error:
        raise MlopsError(
            f"{failure.message} And then model {former.name}:{former.version} could not be brought back: "
            f"{error.message}",
            "Look at the production service at once.",
            log_tail=error.log_tail or failure.log_tail,
        ) from error


def deploy_and_test(
    road: Road,
    stage: Stage,
    model: RegisteredModel | ModelVersion,
    scoring: Scoring,
    resources: Resources,
    cluster: ReadyCompute | None,
    step: str | None = None,
) -> Endpoint:
    """Deploy a model version to a stage and see that it answers well there.

    Raises:
        DeploymentError: it does not get healthy.
        EndpointTestError: a test did not pass.
    """
    deployment, started = road.settings.deployment, time.monotonic()
    minutes = road.settings.waiting.service_minutes
    endpoint = road.steps.run(
        step or f"deploy to {stage}",
        deploy_task,
        road.target,
        deployment,
        stage,
        model,
        scoring,
        resources,
        cluster,
        minutes,
    )
    tests = road.steps.run(f"test {stage}", run_endpoint_tests_task, road.target, deployment.endpoint_tests, endpoint)
    road.passed(
        StageReport(
            stage=stage,
            service=endpoint.service,
            compute_type=endpoint.compute_type,
            cluster_purpose=endpoint.cluster_purpose,
            state=endpoint.state,
            scoring_uri=endpoint.scoring_uri,
            tests=tests,
            seconds=round(time.monotonic() - started, 3),
        )
    )
    failed = [f"'{test.name}': {test.detail}" for test in tests if not test.passed]
    if failed:
        raise EndpointTestError(
            f"Service '{endpoint.service}' did not pass {'; '.join(failed)}.",
            "Mend the scoring script, or the expectations under code/testing.",
        )
    return endpoint
