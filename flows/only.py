"""``python -m flows.main --only STEP``: one step alone, on what the last run has left in its report.

The step is called as a plain function, without Prefect: no server, no retry and no time limit stand between it and a
debugger. The report stays as it is, so that the step can be repeated as often as it takes. Only a step that changes
production waits its turn at Prefect's server, and a model goes there only when the last run let it.
"""

from __future__ import annotations

import difflib
import getpass
import os
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from flows.console import Console
from flows.lineage import lineage
from flows.model_card import model_card
from flows.plots.gates import gate_plots
from flows.production_steps import CHANGE_PRODUCTION, step_named
from flows.terminal import terminal
from settings import Settings
from settings.deployment import LoadObjectives
from settings.workspace import resolve_workspace
from tasks.compute import ensure_inference_cluster
from tasks.data_validation import validate_data
from tasks.deployment import STAGES_FOR_TESTS, Stage, delete_service, deploy, find_endpoint, service_name
from tasks.endpoint_tests import not_passed, run_endpoint_tests
from tasks.environment import register_scoring_environment, register_training_environment
from tasks.errors import MlopsError
from tasks.evaluation import evaluate, production_model
from tasks.load import unmet
from tasks.production import settle_production
from tasks.profiling import prepare_profile, profile_model
from tasks.progress import listening
from tasks.registration import mark_released, register_model
from tasks.resume import find_former_run
from tasks.training import submit_training, wait_for_training
from tasks.training_compute import ensure_training_compute
from tasks.tuning import best_run, submit_tuning, wait_for_tuning
from tasks.values import (
    Comparison,
    DataReport,
    ModelProfile,
    ModelVersion,
    Origin,
    ReadyCompute,
    RegisteredModel,
    ReportedComparison,
    Resources,
    RunReport,
    Scoring,
    TrainedRun,
)
from tasks.workspace import ensure_workspace


def _anew() -> Origin:
    """A step alone is taken to see it at work: a run that was done before would show nothing."""
    return Origin(flow_run_id=f"only-{uuid.uuid4()}", fresh=True)


class LastRun:
    """What the last run has left, and the steps that can be taken on it.

    What the settings name (workspace, compute targets, environments) is ensured by whichever step needs it, as in a
    whole run; the trained run, the comparison, the model and its profile come from the report.

    Raises:
        SettingsError: the workspace is not named.
    """

    def __init__(self, settings: Settings, report_file: Path) -> None:
        self._settings = settings
        self._target = resolve_workspace(settings.workspace, os.environ)
        self._report_file = report_file
        self.steps: dict[str, Callable[[], Any]] = {
            "workspace": lambda: ensure_workspace(self._target, settings.workspace.create_if_missing),
            "data": self._validate,
            "training compute": self._training_compute,
            "training environment": lambda: register_training_environment(self._target, settings.experiment),
            "scoring environment": lambda: register_scoring_environment(self._target, settings.deployment.image),
            "training": self._train,
            "tuning": self._tune,
            "settle production": lambda: settle_production(
                self._target, settings.deployment, settings.waiting.service_minutes
            ),
            "evaluation": lambda: evaluate(self._target, settings.deployment, self._trained()),
            "test cluster": partial(self._cluster, "test"),
            "prod cluster": partial(self._cluster, "prod"),
            "registration": self._register,
            "profile": self._profile,
            "deploy to dev": partial(self._deploy, "dev"),
            "test dev": partial(self._test, "dev"),
            "remove dev": partial(self._remove, "dev"),
            "deploy to test": partial(self._deploy, "test"),
            "test test": partial(self._test, "test"),
            "remove test": partial(self._remove, "test"),
            "deploy to prod": partial(self._deploy, "prod"),
            "test prod": partial(self._test, "prod"),
            "mark as production": lambda: mark_released(self._target, self._model(), self._comparison().production),
        }

    def run(self, name: str, verbose: bool) -> Any:
        """Take the step of that name, and bring back its value.

        Raises:
            MlopsError: there is no such step, the report lacks what it needs, or it failed.
        """
        name = step_named(name)
        step = self.steps.get(name)
        if step is None:
            near = difflib.get_close_matches(name, self.steps, n=1)
            meant = f" Did you mean '{near[0]}'?" if near else ""
            raise MlopsError(f"There is no step '{name}'.{meant}", f"The steps are: {', '.join(self.steps)}.")
        with Console(verbose, terminal()) as console, ExitStack() as turn:
            if name in CHANGE_PRODUCTION:
                self._take_turn(name, console, turn)
            with console.step(name) as shown, listening(shown.detail, shown.show):
                return step()

    def _take_turn(self, name: str, console: Console, turn: ExitStack) -> None:
        """Wait for it, and see that the last run's model may go to production, where that is what the step does."""
        from flows.turn import turn_on

        deployment, releases = self._settings.deployment, name != "settle production"
        if releases:
            check_promoted(self._report(), deployment.prod_deployment.approval == "required")
            check_tried_out(self._report(), deployment.test_deployment.objectives)
        with console.step("turn to release", lasting=True):
            turn.enter_context(turn_on(self._target, self._settings.waiting.turn_minutes))
        if releases:
            check_production(self._report(), production_model(self._target, deployment))

    def _report(self) -> RunReport:
        try:
            return RunReport.model_validate_json(self._report_file.read_text())
        except OSError as error:
            raise MlopsError(
                f"There is no report of a last run in {self._report_file}.", "Start a whole run first."
            ) from error
        except ValidationError as error:
            raise MlopsError(
                f"The report {self._report_file} is of another version of this project.", "Start a whole run first."
            ) from error

    def _lacks(self, what: str) -> MlopsError:
        return MlopsError(
            f"The last run, which ended as {self._report().outcome}, has no {what} in {self._report_file}.",
            "Start a whole run that gets that far.",
        )

    def _training_compute(self) -> ReadyCompute:
        minutes = self._settings.waiting.compute_minutes
        return ensure_training_compute(self._target, self._settings.compute_target, minutes)

    def _validate(self) -> DataReport:
        if self._settings.data is None:
            raise MlopsError("The settings have no rules for data.", "Write them under `data`.")
        return validate_data(self._target, self._settings.data)

    def _train(self) -> TrainedRun:
        experiment, minutes = self._settings.experiment, self._settings.waiting.training_minutes
        compute, environment = self._training_compute(), register_training_environment(self._target, experiment)
        model, former = self._settings.deployment.model, self._former_run()
        origin = _anew()
        run = submit_training(self._target, experiment, model, compute, environment, origin, former)
        return wait_for_training(
            self._target, experiment, compute, environment, run.run_id, minutes, origin.flow_run_id
        )

    def _tune(self) -> TrainedRun:
        experiment, minutes = self._settings.experiment, self._settings.waiting.training_minutes
        if not experiment.hyperparameter_sampling.use_hyperparameter_sampling:
            raise MlopsError(
                "The settings do not tune.", "Set experiment.hyperparameter_sampling, or take step 'training'."
            )
        compute, environment = self._training_compute(), register_training_environment(self._target, experiment)
        model, former = self._settings.deployment.model, self._former_run()
        origin = _anew()
        run = submit_tuning(self._target, experiment, model, compute, environment, origin, former)
        tuning = wait_for_tuning(self._target, experiment, run.run_id, minutes, origin.flow_run_id)
        return best_run(self._target, experiment, compute, environment, tuning)

    def _former_run(self) -> str | None:
        resumed = self._settings.experiment.resume_state
        if not resumed.resume_from_state:
            return None
        return find_former_run(self._target, resumed, self._settings.deployment)

    def _trained(self) -> TrainedRun:
        report, experiment = self._report(), self._settings.experiment
        if report.comparison is not None:
            return report.comparison.candidate
        if report.run is None:
            raise self._lacks("training run")
        compute, environment = self._training_compute(), register_training_environment(self._target, experiment)
        return wait_for_training(
            self._target, experiment, compute, environment, report.run.id, minutes=1, flow_run_id=""
        )

    def _comparison(self) -> Comparison:
        report = self._report()
        if report.comparison is None:
            raise self._lacks("comparison")
        return Comparison(promote=report.outcome != "NotPromoted", **dict(report.comparison))

    def _register(self) -> RegisteredModel:
        comparison, report = self._comparison(), self._report()
        if not comparison.promote:
            raise MlopsError(
                f"The model of the last run is not registered, because it is not better: {comparison.reasons[0]}.",
                "Start a run that trains a better one.",
            )
        deployment, scoring = self._settings.deployment, self._scoring()
        flow_run_id = (report.prefect_url or "").rpartition("/")[2]
        known = lineage(self._settings, report.data, getpass.getuser(), flow_run_id)
        reported = ReportedComparison.of(comparison)
        plots = gate_plots(reported, report.data)
        card = model_card(deployment.model, reported, report.data, known, scoring, plots)
        return register_model(self._target, deployment, comparison, scoring, known, card)

    def _model(self) -> RegisteredModel:
        report = self._report()
        if report.model is None or report.run is None:
            raise self._lacks("registered model")
        name, version = report.model.name, report.model.version
        return RegisteredModel(name=name, version=version, model_id=f"{name}:{version}", run_id=report.run.id)

    def _scoring(self) -> Scoring:
        image = self._settings.deployment.image
        return Scoring(
            source_directory=image.source_directory,
            entry_script=image.entry_script,
            environment=register_scoring_environment(self._target, image),
        )

    def _profile(self) -> ModelProfile:
        deployment, model, scoring = self._settings.deployment, self._model(), self._scoring()
        prepared = prepare_profile(self._target, deployment.endpoint_tests, model.run_id, scoring, _anew())
        minutes = self._settings.waiting.profile_minutes
        return profile_model(self._target, deployment, model, scoring, prepared, minutes)

    def _cluster(self, stage: Stage) -> ReadyCompute | None:
        clusters, minutes = self._settings.compute_target.deployment, self._settings.waiting.compute_minutes
        if stage == "test":
            return ensure_inference_cluster(self._target, clusters.aks_test, "DEV_TEST", minutes)
        if stage == "prod":
            return ensure_inference_cluster(self._target, clusters.aks_prod, "FAST_PROD", minutes)
        return None  # dev is on Azure Container Instances

    def _deploy(self, stage: Stage) -> Any:
        model, profile = self._model(), self._report().profile
        if profile is None:
            raise self._lacks("profile")
        resources = Resources(cpu=profile.cpu, memory_gb=profile.memory_gb)
        deployment, minutes = self._settings.deployment, self._settings.waiting.service_minutes
        cluster = self._cluster(stage)
        return deploy(self._target, deployment, stage, model, self._scoring(), resources, cluster, minutes)

    def _test(self, stage: Stage) -> Any:
        endpoint = find_endpoint(self._target, self._settings.deployment, stage)
        if endpoint is None:
            raise MlopsError(
                f"There is no service '{service_name(self._settings.deployment, stage)}' to be tested.",
                f"Start it with --only 'deploy to {stage}'.",
            )
        return run_endpoint_tests(self._target, self._settings.deployment.endpoint_tests, endpoint)

    def _remove(self, stage: Stage) -> None:
        delete_service(self._target, service_name(self._settings.deployment, stage))


_ANEW = "Start a whole run, which compares with what production serves now."
_TESTED = "Mend that, and start a whole run, which tests on every stage."


def check_promoted(report: RunReport, needs_approval: bool) -> None:
    """See that the last run let its model into production. Pure.

    Raises:
        MlopsError: it did not.
    """
    comparison, approval = report.comparison, report.approval
    if comparison is None:
        raise MlopsError(f"The last run, which ended as {report.outcome}, compared no model with production's.", _ANEW)
    if report.outcome == "NotPromoted":
        raise MlopsError(
            f"The last run did not let its model into production: {comparison.reasons[0]}.",
            "Start a run that trains a better one.",
        )
    if needs_approval and (approval is None or approval.decision != "approved"):
        decision = "nobody was asked" if approval is None else approval.decision
        raise MlopsError(f"The model of the last run was not approved for production: {decision}.", _ANEW)


def check_tried_out(report: RunReport, objectives: LoadObjectives) -> None:
    """See that the last run's model passed the tests on the stages before production. Pure.

    Args:
        objectives: of the load test, as the settings have them now.

    Raises:
        MlopsError: it did not, or was never tested there.
    """
    if report.outcome == "Promoted":  # a release that was taken up again has no stages but production
        return
    for name in STAGES_FOR_TESTS:
        stage = next((each for each in report.stages if each.stage == name), None)
        if stage is None:
            raise MlopsError(
                f"The model of the last run, which ended as {report.outcome}, was not tested on {name}.", _TESTED
            )
        missed = not_passed(stage.tests)
        missed += unmet(stage.load, objectives) if stage.load is not None else ()
        if missed:
            raise MlopsError(
                f"The model of the last run did not pass its tests on {name}: {'; '.join(missed)}.", _TESTED
            )


def check_production(report: RunReport, served: ModelVersion | None) -> None:
    """See that production serves what the last run compared its model with, or that model itself. Pure.

    Raises:
        MlopsError: something else was released since.
    """
    comparison = report.comparison
    compared = comparison and comparison.production
    own = report.model and (report.model.name, report.model.version)
    known = {own, compared and (compared.name, compared.version)}
    if (served and (served.name, served.version)) not in known:
        now = f"{served.name} version {served.version}" if served else "no model"
        raise MlopsError(f"Production serves {now}, with which the last run did not compare its model.", _ANEW)


def take(step: str, settings: Settings, report_file: Path, verbose: bool) -> None:
    """Take one step, and show its value as JSON.

    Raises:
        MlopsError: it cannot be taken, or failed.
    """
    value = LastRun(settings, report_file).run(step, verbose)
    if value is not None:
        print(TypeAdapter(Any).dump_json(value, indent=2).decode(), file=terminal())
