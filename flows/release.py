"""The release: a registered model is deployed to a stage and tested there; what fails in production is taken back."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from flows.road import Road, explanation
from tasks.canary import deploy_version_task, serve_only_task, take_step_task
from tasks.compute import ensure_inference_cluster_task
from tasks.deployment import (
    Stage,
    delete_service_task,
    deploy_task,
    find_endpoint_task,
    service_log_task,
    service_name,
)
from tasks.endpoint_tests import not_passed, run_endpoint_tests_task
from tasks.errors import CanaryError, DeploymentError, EndpointTestError, LoadTestError, MlopsError
from tasks.load import load_service_task, unmet, wanted
from tasks.registration import ARCHIVED, ROLLED_BACK, mark_released_task, scoring_of_task
from tasks.values import (
    Endpoint,
    Load,
    ModelVersion,
    ReadyCompute,
    RegisteredModel,
    Resources,
    Scoring,
    StageReport,
    UnfinishedRelease,
)


def try_out(
    road: Road,
    stage: Stage,
    model: RegisteredModel,
    scoring: Scoring,
    resources: Resources | None,
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
    resources: Resources | None,
    cluster: ReadyCompute,
    *,
    by_hand: bool = False,
) -> None:
    """Take a model to production, which keeps serving meanwhile, by the strategy of the settings.

    Args:
        by_hand: it is a former model, which somebody wants to have back: all the traffic at once.
    """
    settings = road.settings.deployment.prod_deployment
    if road.steps.run("find prod", find_endpoint_task, road.target, road.settings.deployment, "prod") is None:
        former = None  # it is production's by its tag only: there is nothing beside which the new one could be watched
    steps = () if former is None or by_hand else settings.canary.steps
    try:
        if settings.strategy == "canary":
            road.production = shift_traffic(road, model, scoring, resources, cluster, steps, by_hand)
        else:
            road.production = deploy_and_test(road, "prod", model, scoring, resources, cluster, by_hand)
    except BaseException as error:  # noqa: BLE001 - an interrupted run must not leave users with half a release
        take_back(road, former, cluster, error)
    else:
        replaced_as = ROLLED_BACK if by_hand else ARCHIVED
        road.steps.run("mark as production", mark_released_task, road.target, model, former, replaced_as)
        road.outcome = "Restored" if by_hand else "Promoted"


def resume(road: Road, unfinished: UnfinishedRelease) -> None:
    """Bring a release to its end that was broken off when production served the model already."""
    road.model, started = unfinished.model, time.monotonic()
    deployment = road.settings.deployment
    cluster = production_cluster(road)
    try:
        road.production = road.steps.run("find prod", find_endpoint_task, road.target, deployment, "prod")
        if road.production is None:
            raise DeploymentError(
                f"Production service '{deployment.prod_deployment.name}' is gone.", "Start the run again."
            )
        test(road, "prod", road.production, started)
    except BaseException as error:  # noqa: BLE001
        take_back(road, unfinished.former, cluster, error)
    else:
        road.steps.run("mark as production", mark_released_task, road.target, unfinished.model, unfinished.former)
        road.outcome = "Promoted"


def production_cluster(road: Road) -> ReadyCompute:
    """The cluster of production, for a run that has not made it ready beside other steps."""
    wanted, minutes = road.settings.compute_target.deployment.aks_prod, road.settings.waiting.compute_minutes
    return road.ready(
        road.steps.run("prod cluster", ensure_inference_cluster_task, road.target, wanted, "FAST_PROD", minutes)
    )


def shift_traffic(
    road: Road,
    model: RegisteredModel,
    scoring: Scoring,
    resources: Resources | None,
    cluster: ReadyCompute,
    steps: Sequence[int],
    former: bool,
) -> Endpoint:
    """Bring a version up without traffic, test it, and give it the traffic step by step, at last all of it.

    Raises:
        DeploymentError: it does not get healthy.
        EndpointTestError: a test did not pass.
        CanaryError: it was out of the settings' bounds beside the former version.
    """
    deployment, started = road.settings.deployment, time.monotonic()
    minutes = road.settings.waiting.service_minutes
    version = road.steps.run(
        "deploy to prod", deploy_version_task, road.target, deployment, model, scoring, resources, cluster, minutes
    )
    test(road, "prod", version, started, former=former)
    for percent in steps:
        step = road.steps.run(f"canary {percent} %", take_step_task, road.target, deployment, model, percent, minutes)
        road.canary.append(step)
        if step.exceeded:
            raise CanaryError(
                f"With {percent} percent of the traffic, {'; '.join(step.exceeded)}.",
                "See what the model takes its time for, or correct deployment.prod_deployment.canary in the settings.",
                log_tail=road.steps.run("read the log", service_log_task, road.target, version.service),
            )
    return serve_alone(road, model, "all traffic")


def serve_alone(road: Road, model: RegisteredModel | ModelVersion, step: str) -> Endpoint:
    """Give a version of the production endpoint all the traffic, and remove the others.

    Raises:
        CanaryError: the endpoint has no version of this model any more.
    """
    minutes = road.settings.waiting.service_minutes
    served = road.steps.run(step, serve_only_task, road.target, road.settings.deployment, model, minutes)
    if served is None:
        raise CanaryError(
            f"The production endpoint has no version of model {model.name}:{model.version} any more.",
            "See who else releases to it, and start the run again.",
        )
    return served


def take_back(road: Road, former: ModelVersion | None, cluster: ReadyCompute, error: BaseException) -> None:
    """Let production serve the former model again, or nothing when there was none.

    Raises:
        MlopsError: there was no former model, or it could not be brought back.
        BaseException: the run was interrupted; raised again when production serves the former model.
    """
    failure = explanation(error)
    if former is None:
        name = service_name(road.settings.deployment, "prod")
        road.steps.run("remove prod", delete_service_task, road.target, name)
        raise error
    road.production = bring_back(road, former, cluster, failure)
    road.rolled_back(failure)
    if not isinstance(error, Exception):
        raise error


def bring_back(road: Road, former: ModelVersion, cluster: ReadyCompute, failure: MlopsError) -> Endpoint:
    """Serve the former model in production again, with the scoring script that it was released with.

    Raises:
        MlopsError: production could not be brought back; says so together with what had failed before.
    """
    started = time.monotonic()
    try:
        served = _serve_again(road, former, cluster)
        test(road, "prod", served, started, former=True)
    except MlopsError as error:
        raise MlopsError(
            f"{failure.message} And then model {former.name}:{former.version} could not be brought back: "
            f"{error.message}",
            "Look at the production service at once.",
            log_tail=error.log_tail or failure.log_tail,
        ) from error
    return served


def _serve_again(road: Road, former: ModelVersion, cluster: ReadyCompute) -> Endpoint:
    deployment, step, minutes = road.settings.deployment, "roll back prod", road.settings.waiting.service_minutes
    canary = deployment.prod_deployment.strategy == "canary"
    if canary:
        served = road.steps.run(step, serve_only_task, road.target, deployment, former, minutes)
        if served is not None:  # the usual case: the former version has never left
            return served
    with tempfile.TemporaryDirectory() as directory:
        scoring = road.steps.run("find former", scoring_of_task, road.target, former, Path(directory))
        if not canary:
            return road.steps.run(
                step, deploy_task, road.target, deployment, "prod", former, scoring, None, cluster, minutes
            )
        road.steps.run(
            "deploy former", deploy_version_task, road.target, deployment, former, scoring, None, cluster, minutes
        )
    return serve_alone(road, former, step)


def deploy_and_test(
    road: Road,
    stage: Stage,
    model: RegisteredModel,
    scoring: Scoring,
    resources: Resources | None,
    cluster: ReadyCompute | None,
    former: bool = False,
) -> Endpoint:
    """Deploy a model version to a stage and see that it answers well there.

    Raises:
        DeploymentError: it does not get healthy.
        EndpointTestError: a test did not pass.
        LoadTestError: it misses an objective under load.
    """
    started = time.monotonic()
    endpoint = road.steps.run(
        f"deploy to {stage}",
        deploy_task,
        road.target,
        road.settings.deployment,
        stage,
        model,
        scoring,
        resources,
        cluster,
        road.settings.waiting.service_minutes,
        road.origin.flow_run_id,
    )
    test(road, stage, endpoint, started, former=former)
    return endpoint


def test(road: Road, stage: Stage, endpoint: Endpoint, started: float, *, former: bool = False) -> None:
    """Test a service, load it where the settings have objectives, and note what was seen, well or not.

    Args:
        started: when the stage began, by time.monotonic().
        former: it serves a former model again, of which only what it was released with can be asked.

    Raises:
        EndpointTestError: a test did not pass; carries the end of the service's log.
        LoadTestError: it misses an objective; carries it, too.
    """
    settings = road.settings.deployment
    wanted_tests, objectives = settings.endpoint_tests, settings.test_deployment.objectives
    if former:
        wanted_tests = wanted_tests.model_copy(update={"samples": {}, "wrong_input": False})
    tests = road.steps.run(f"test {stage}", run_endpoint_tests_task, road.target, wanted_tests, endpoint)
    failed = not_passed(tests)
    load: Load | None = None
    if stage == "test" and wanted(objectives) and not failed:
        load = road.steps.run(
            "load test", load_service_task, road.target, wanted_tests, settings.test_deployment.load, endpoint
        )
    road.passed(
        StageReport(
            stage=stage,
            service=endpoint.service,
            compute_type=endpoint.compute_type,
            cluster_purpose=endpoint.cluster_purpose,
            state=endpoint.state,
            scoring_uri=endpoint.scoring_uri,
            tests=tests,
            load=load,
            seconds=round(time.monotonic() - started, 3),
        )
    )
    missed = list(unmet(load, objectives)) if load is not None else []
    if not failed and not missed:
        return
    log_tail = road.steps.run("read the log", service_log_task, road.target, endpoint.service)
    if failed:
        raise EndpointTestError(
            f"Service '{endpoint.service}' did not pass {'; '.join(failed)}.",
            "Mend the scoring script, or the expectations under code/testing.",
            log_tail=log_tail,
        )
    raise LoadTestError(
        f"Service '{endpoint.service}' misses its objectives under load: {'; '.join(missed)}.",
        "Give the service more replicas, CPU or concurrent requests, make the scoring script faster, or correct "
        "deployment.test_deployment.objectives.",
        log_tail=log_tail,
    )
