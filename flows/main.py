"""Train a model, compare it with the one in production, and let it climb when it is better.

workspace - data -+- training compute -----+
             |    +- training environment -+- training - evaluation -+- no --> NotPromoted
             |    +- scoring environment --+                         |
             +- a rule is broken --> DataRejected                   yes
                registration - profile - dev (ACI) - test (AKS DEV_TEST) - prod (AKS FAST_PROD) --> Promoted
                clusters made ready meanwhile                               |
                                            not healthy, or wrong answers: the former model back --> RolledBack

python -m flows.main [--settings PATH] [--set dotted.key=value ...] [--verbose]
"""

from __future__ import annotations

if __name__ == "__main__":  # first, so that --help and wrong settings are answered before Prefect is imported
    from flows.command_line import main

    raise SystemExit(main())

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from flows.lineage import lineage_of
from flows.model_card import model_card
from flows.options import RunOptions
from flows.release import release, try_out
from flows.report import explanations, headline
from flows.road import Road
from tasks.compute import ensure_inference_cluster_task
from tasks.data_validation import validate_data_task
from tasks.environment import register_scoring_environment_task, register_training_environment_task
from tasks.evaluation import evaluate_task
from tasks.profiling import profile_model_task
from tasks.registration import register_model_task
from tasks.resume import find_former_run_task
from tasks.training import submit_training_task, wait_for_training_task
from tasks.training_compute import ensure_training_compute_task
from tasks.tuning import best_run_task, submit_tuning_task, wait_for_tuning_task
from tasks.values import Comparison, ReadyCompute, RegisteredEnvironment, Scoring, TrainedRun
from tasks.workspace import ensure_workspace_task

DEFAULT_OPTIONS = RunOptions()


@flow(name="train-and-promote")
def train_and_promote(options: RunOptions = DEFAULT_OPTIONS) -> State[dict[str, Any]]:
    """Train a model and, when it beats the one in production, release it.

    Returns:
        a state named Promoted, NotPromoted, Compared or DataRejected (completed), or RolledBack (failed); report.json
        is its data.

    Raises:
        MlopsError: a step failed; production serves what it served before.
        SettingsError: the settings are wrong; nothing was created.
    """
    with Road(options, flow_run.ui_url) as road:
        if not data_is_accepted(road):
            road.outcome = "DataRejected"
        else:
            comparison, scoring = learn(road)
            if not comparison.promote:
                road.outcome = "NotPromoted"
            elif options.stop_before == "registration":
                road.outcome = "Compared"
            else:
                climb(road, comparison, scoring)
        road.steps.join()
    return end_state(road)


def data_is_accepted(road: Road) -> bool:
    """Judge the data, where the settings say how, before any compute is made for it."""
    steps, settings = road.steps, road.settings
    steps.run("workspace", ensure_workspace_task, road.target, settings.workspace.create_if_missing)
    if settings.data is None:
        return True
    road.data = steps.run("data", validate_data_task, road.target, settings.data)
    return road.data.accepted


def learn(road: Road) -> tuple[Comparison, Scoring]:
    """Train or tune a candidate, and hold it against the model that production serves."""
    settings, target, steps = road.settings, road.target, road.steps
    experiment, deployment, waiting = settings.experiment, settings.deployment, settings.waiting

    compute = steps.start(
        "training compute", ensure_training_compute_task, target, settings.compute_target, waiting.compute_minutes
    )
    environment = steps.start("training environment", register_training_environment_task, target, experiment)
    scoring_environment = steps.start(
        "scoring environment", register_scoring_environment_task, target, deployment.image
    )

    produce = tune if experiment.hyperparameter_sampling.use_hyperparameter_sampling else train
    road.trained = produce(road, compute.result(), environment.result())
    road.comparison = steps.run("evaluation", evaluate_task, target, deployment, road.trained)
    scoring = Scoring(
        source_directory=deployment.image.source_directory,
        entry_script=deployment.image.entry_script,
        environment=scoring_environment.result(),
    )
    return road.comparison, scoring


def train(road: Road, compute: ReadyCompute, environment: RegisteredEnvironment) -> TrainedRun:
    """Train once, with the parameters of the settings."""
    settings, target, steps = road.settings, road.target, road.steps
    experiment, model = settings.experiment, settings.deployment.model
    own_id = f"{experiment.name}_{flow_run.id}"
    run_id = steps.run(
        "submit training",
        submit_training_task,
        target,
        experiment,
        model,
        compute,
        environment,
        own_id,
        former_run(road),
    )
    minutes = settings.waiting.training_minutes
    return steps.run("training", wait_for_training_task, target, experiment, compute, environment, run_id, minutes)


def tune(road: Road, compute: ReadyCompute, environment: RegisteredEnvironment) -> TrainedRun:
    """Train with many hyperparameters; the best child is the candidate."""
    settings, target, steps = road.settings, road.target, road.steps
    experiment, model = settings.experiment, settings.deployment.model
    own_id = f"{experiment.name}_{flow_run.id}"
    run_id = steps.run(
        "submit tuning", submit_tuning_task, target, experiment, model, compute, environment, own_id, former_run(road)
    )
    minutes = settings.waiting.training_minutes
    road.tuning = steps.run("tuning", wait_for_tuning_task, target, experiment, run_id, minutes)
    return steps.run("best run", best_run_task, target, experiment, compute, environment, road.tuning)


def former_run(road: Road) -> str | None:
    """The run whose outputs the next one goes on from, where the settings want that."""
    resumed = road.settings.experiment.resume_state
    if not resumed.resume_from_state:
        return None
    return road.steps.run("former run", find_former_run_task, road.target, resumed, road.settings.deployment)


def climb(road: Road, comparison: Comparison, scoring: Scoring) -> None:
    """Register and profile the model, then take it through dev and test to production."""
    settings, target, steps = road.settings, road.target, road.steps
    clusters, minutes = settings.compute_target.deployment, settings.waiting.compute_minutes
    test_cluster = steps.start(
        "test cluster", ensure_inference_cluster_task, target, clusters.aks_test, "DEV_TEST", minutes
    )
    prod_cluster = steps.start(
        "prod cluster", ensure_inference_cluster_task, target, clusters.aks_prod, "FAST_PROD", minutes
    )

    lineage = lineage_of(settings, road.data)
    road.model = steps.run(
        "registration",
        register_model_task,
        target,
        settings.deployment,
        comparison,
        scoring,
        lineage,
        model_card(settings.deployment.model, comparison, road.data, lineage, scoring),
    )
    road.profile = steps.run(
        "profile",
        profile_model_task,
        target,
        settings.deployment,
        road.model,
        scoring,
        settings.waiting.profile_minutes,
    )
    try_out(road, "dev", road.model, scoring, road.profile, None)
    try_out(road, "test", road.model, scoring, road.profile, test_cluster.result())
    release(road, comparison.production, road.model, scoring, road.profile, prod_cluster.result())


def end_state(road: Road) -> State[dict[str, Any]]:
    """The flow's state: completed for a decision, whichever it is; failed when production had to be restored."""
    if road.report is None:
        raise RuntimeError("the road was not left yet: its report is made then")
    message, data = headline(road.report), road.report.model_dump(mode="json")
    if road.outcome == "RolledBack":
        return Failed(name="RolledBack", message=message, data=data)
    reasons = "; ".join(explanations(road.report))
    return Completed(name=road.outcome, message=f"{message} {reasons}".strip(), data=data)
