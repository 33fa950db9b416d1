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

from contextlib import suppress
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run

from flows.approval import ask_for_approval
from flows.cancellation import carried_out_here, withdraw
from flows.import_ahead import import_ahead
from flows.lineage import lineage_of
from flows.model_card import model_card
from flows.options import RunOptions
from flows.plots.gates import gate_plots
from flows.release import release, resume, try_out
from flows.road import Road, end_state
from flows.steps import Started
from flows.turn import turn_to_release
from settings.judged_data import not_given
from tasks.compute import ensure_inference_cluster_task
from tasks.data_validation import validate_data_task
from tasks.environment import register_scoring_environment_task, register_training_environment_task
from tasks.errors import CancelledWithAnother, OperationTimeout, ProfilingError
from tasks.evaluation import evaluate_task
from tasks.production import settle_production_task
from tasks.profiling import prepare_profile_task, profile_model_task, resources_missing
from tasks.registration import register_model_task, unfinished_release_task
from tasks.resume import find_former_run_task
from tasks.training import submit_training_task, wait_for_training_task
from tasks.training_compute import ensure_training_compute_task
from tasks.tuning import best_run_task, submit_tuning_task, wait_for_tuning_task
from tasks.values import (
    Comparison,
    PreparedProfile,
    ReadyCompute,
    RegisteredEnvironment,
    RegisteredModel,
    ReportedComparison,
    Scoring,
    SubmittedRun,
    TrainedRun,
)
from tasks.workspace import ensure_workspace_task

DEFAULT_OPTIONS = RunOptions()


# The steps, for those who read in Prefect's UI where a run has left the road.
_LEARNING = ("training", "evaluation")
_PRODUCTION = ("deploy to prod", "test prod", "mark as production")
_RELEASE = ("registration", "profile", "deploy to dev", "test dev", "deploy to test", "test test", *_PRODUCTION)


@flow(name="train-and-promote", on_cancellation=[withdraw], on_crashed=[withdraw])
def train_and_promote(options: RunOptions = DEFAULT_OPTIONS) -> State[dict[str, Any]]:
    """Train a model and, when it beats the one in production, release it.

    Returns:
        a state named Promoted, NotPromoted, NotApproved, Compared or DataRejected (completed), or RolledBack (failed);
        report.json is its data.

    Raises:
        MlopsError: a step failed; production serves what it served before.
        SettingsError: the settings are wrong; nothing was created.
    """
    carried_out_here.add(str(flow_run.id))
    with Road(options, str(flow_run.id), flow_run.ui_url) as road:
        if not data_is_accepted(road):
            road.outcome = "DataRejected"
            road.steps.skip((*_LEARNING, *_RELEASE), "the data was rejected")
        else:
            scoring = learn(road)
            if options.stop_before == "registration":
                road.outcome = "Compared" if compare(road).promote else "NotPromoted"
                road.steps.skip(_RELEASE, "the run was to stop before registration")
            else:
                with turn_to_release(road):
                    promote(road, scoring)
        road.steps.join()
    return end_state(road)


def data_is_accepted(road: Road) -> bool:
    """Judge the data, where the settings say how, before any compute is made for it."""
    steps, settings = road.steps, road.settings
    steps.run("workspace", ensure_workspace_task, road.target, settings.workspace.create_if_missing)
    if settings.data is None:
        return True
    road.data = steps.run("data", validate_data_task, road.target, settings.data)
    if sentence := not_given(settings):
        road.warn(f"DataNotGiven: {sentence}.")
    return road.data.accepted


def learn(road: Road) -> Scoring:
    """Train or tune a candidate; says how it would be served."""
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
    while road.trained is None:
        # What was cancelled because another flow run was, which waited for it, too, is done again for this one.
        with suppress(CancelledWithAnother):
            road.trained = produce(road, compute.result(), environment.result())
    return Scoring(
        source_directory=deployment.image.source_directory,
        entry_script=deployment.image.entry_script,
        environment=scoring_environment.result(),
    )


def compare(road: Road) -> Comparison:
    """Hold the candidate against the model that production serves now."""
    if road.trained is None:
        raise RuntimeError("nothing was trained yet")
    road.comparison = road.steps.run("evaluation", evaluate_task, road.target, road.settings.deployment, road.trained)
    return road.comparison


def promote(road: Road, scoring: Scoring) -> None:
    """Put right what an earlier run left of a release, and release the candidate when it is better than production."""
    deployment, minutes = road.settings.deployment, road.settings.waiting.service_minutes
    road.steps.run("settle production", settle_production_task, road.target, deployment, minutes)
    comparison = compare(road)
    if comparison.promote:
        climb(road, comparison, scoring)
        return
    road.outcome = "NotPromoted"
    take_up_unfinished_release(road, comparison)
    if road.outcome == "NotPromoted":
        road.steps.skip(_RELEASE, "the candidate is not better than what production serves")


def train(road: Road, compute: ReadyCompute, environment: RegisteredEnvironment) -> TrainedRun:
    """Train once, with the parameters of the settings."""
    settings, target, steps = road.settings, road.target, road.steps
    experiment, model = settings.experiment, settings.deployment.model
    run = steps.run(
        "submit training",
        submit_training_task,
        target,
        experiment,
        model,
        compute,
        environment,
        road.origin,
        former_run(road),
    )
    import_ahead()
    name, minutes = cached("training", run), settings.waiting.training_minutes
    own = road.origin.flow_run_id
    return steps.run(name, wait_for_training_task, target, experiment, compute, environment, run.run_id, minutes, own)


def tune(road: Road, compute: ReadyCompute, environment: RegisteredEnvironment) -> TrainedRun:
    """Train with many hyperparameters; the best child is the candidate."""
    settings, target, steps = road.settings, road.target, road.steps
    experiment, model = settings.experiment, settings.deployment.model
    run = steps.run(
        "submit tuning",
        submit_tuning_task,
        target,
        experiment,
        model,
        compute,
        environment,
        road.origin,
        former_run(road),
    )
    import_ahead()
    name, minutes = cached("tuning", run), settings.waiting.training_minutes
    road.tuning = steps.run(
        name, wait_for_tuning_task, target, experiment, run.run_id, minutes, road.origin.flow_run_id
    )
    return steps.run("best run", best_run_task, target, experiment, compute, environment, road.tuning)


def former_run(road: Road) -> str | None:
    """The run whose outputs the next one goes on from, where the settings want that."""
    resumed = road.settings.experiment.resume_state
    if not resumed.resume_from_state:
        return None
    return road.steps.run("former run", find_former_run_task, road.target, resumed, road.settings.deployment)


def cached(step: str, run: SubmittedRun) -> str:
    """The step's name, which says when there is nothing to wait for."""
    return f"{step} (cached)" if run.found == "completed" else step


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

    run_id, tests = comparison.candidate.run_id, settings.deployment.endpoint_tests
    prepared = steps.start("prepare profile", prepare_profile_task, target, tests, run_id, scoring, road.origin)
    lineage, reported = lineage_of(settings, road.data), ReportedComparison.of(comparison)
    road.gate_plots = gate_plots(reported, road.data)
    road.model = steps.run(
        "registration",
        register_model_task,
        target,
        settings.deployment,
        comparison,
        scoring,
        lineage,
        model_card(settings.deployment.model, reported, road.data, lineage, scoring, road.gate_plots),
    )
    measure(road, road.model, scoring, prepared)
    try_out(road, "dev", road.model, scoring, road.profile, None)
    try_out(road, "test", road.model, scoring, road.profile, road.ready(test_cluster.result()))
    if approved(road, road.model, comparison):
        release(road, comparison.production, road.model, scoring, road.profile, road.ready(prod_cluster.result()))


def measure(road: Road, model: RegisteredModel, scoring: Scoring, prepared: Started[PreparedProfile]) -> None:
    """Profile the model; where that fails, the settings' CPU and memory have to do.

    Raises:
        ProfilingError, OperationTimeout: it failed, and the settings do not name all of them.
    """
    deployment, minutes = road.settings.deployment, road.settings.waiting.profile_minutes
    try:
        plan = prepared.result()
        name = "profile (cached)" if plan.found else "profile"
        road.profile = road.steps.run(name, profile_model_task, road.target, deployment, model, scoring, plan, minutes)
    except (ProfilingError, OperationTimeout) as error:
        missing = resources_missing(deployment)
        if missing:
            next_step = (
                f"{error.next_step} Or set deployment.{', deployment.'.join(missing)} to go on without a profile."
            )
            raise type(error)(error.message, next_step, log_tail=error.log_tail) from error
        road.warn(f"ProfileFailed: {error.message} CPU and memory of the services are those of the settings.")
    for sentence in road.profile.capped if road.profile else ():
        road.warn(f"ProfileCapped: {sentence}.")


def approved(road: Road, model: RegisteredModel, comparison: Comparison) -> bool:
    """Ask a person, where the settings want that; without approval the run ends as NotApproved."""
    settings = road.settings.deployment.prod_deployment
    if settings.approval == "none":
        return True
    road.steps.wait()
    question = (
        f"Model **{model.model_id}** is better and passed its tests: {'; '.join(comparison.reasons)}. "
        f"Shall it go into production, service `{settings.name}`?"
    )
    with road.console.step("approval", lasting=True) as step:
        step.detail(f"asked for in Prefect's UI, for {settings.approval_minutes:g} minutes")
        road.approval = ask_for_approval(question, settings.approval_minutes)
        step.detail(road.approval.decision)
    if road.approval.decision != "approved":
        road.outcome = "NotApproved"
        road.steps.skip(_PRODUCTION, f"the release was {road.approval.decision}")
    return road.approval.decision == "approved"


def take_up_unfinished_release(road: Road, comparison: Comparison) -> None:
    """Test and mark the candidate when production serves it already: its run was killed before it had done that."""
    production = comparison.production
    if production is None or production.run_id != comparison.candidate.run_id:
        return
    unfinished = road.steps.run("unfinished release", unfinished_release_task, road.target, production)
    if unfinished is not None:
        resume(road, unfinished)
