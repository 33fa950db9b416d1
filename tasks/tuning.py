"""Tuning: submit a HyperDrive run over the training script, watch its children, and bring back all of them.

Azure: https://learn.microsoft.com/azure/machine-learning/how-to-tune-hyperparameters; SDK:
``azureml.train.hyperdrive.HyperDriveConfig`` and ``HyperDriveRun``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from settings.experiment import Distribution, ExperimentSettings, HyperparameterSamplingSettings
from settings.workspace import WorkspaceTarget
from tasks.errors import ConnectionToAzureError, MetricNotLogged, TrainingError
from tasks.operation import azure_operation, explained
from tasks.progress import Rows, report, report_percent, report_rows
from tasks.run_log import log_tail
from tasks.training import (
    FAILED,
    FINAL,
    cancel_if_own,
    find_run,
    found_or_next,
    reason_of,
    run_tags,
    seconds_of,
    see_whether_cancelled_with_another,
    trained_run,
    training_configuration,
)
from tasks.values import Origin, ReadyCompute, RegisteredEnvironment, SubmittedRun, TrainedRun, Trial, Tuning
from tasks.waiting import poll
from tasks.workspace import open_workspace

if TYPE_CHECKING:
    from azureml.core import Run, ScriptRunConfig, Workspace
    from azureml.train.hyperdrive import HyperDriveConfig, HyperDriveRun

    from settings.deployment import ModelSettings

_SETTINGS = "experiment.hyperparameter_sampling"
_USED_UP = 0.95  # of its minutes: a tuning that was canceled later than that was canceled by its own budget


def submit_tuning(
    target: WorkspaceTarget,
    experiment: ExperimentSettings,
    model: ModelSettings,
    compute: ReadyCompute,
    environment: RegisteredEnvironment,
    origin: Origin,
    former_run_id: str | None = None,
) -> SubmittedRun:
    """Submit the tuning, unless the same one is there already, as for :func:`tasks.training.submit_training`.

    Args:
        model: what the script is to make; it is told name and path.
        origin: of the submission.
        former_run_id: the run whose outputs are handed on to each child.

    Returns:
        the parent run.

    Raises:
        TrainingError: the source directory is too large, data is not there, or Azure refuses the tuning.
    """
    run, key = found_or_next("tuning", target, experiment, model, compute, environment, origin, former_run_id)
    if run.found:
        return run
    workspace = open_workspace(target)
    from azureml.core import Experiment

    training = training_configuration(workspace, experiment, model, compute, environment, former_run_id)
    with explained(TrainingError, f"submit tuning '{run.run_id}'", f"Check {_SETTINGS}.* in the settings."):
        configuration = tuning_configuration(experiment.hyperparameter_sampling, training, run.run_id)
        Experiment(workspace, experiment.name).submit(configuration, tags=run_tags(experiment, key, origin))
    return run


def tuning_configuration(
    sampling: HyperparameterSamplingSettings, training: ScriptRunConfig, run_id: str
) -> HyperDriveConfig:
    """What is tuned, as the SDK wants it; the settings have been checked."""
    from azureml.train import hyperdrive

    expressions = {name: _expression(distribution) for name, distribution in sampling.parameters.items()}
    samplers = {
        "random": hyperdrive.RandomParameterSampling,
        "grid": hyperdrive.GridParameterSampling,
        "bayesian": hyperdrive.BayesianParameterSampling,
    }
    goals = {"max": hyperdrive.PrimaryMetricGoal.MAXIMIZE, "min": hyperdrive.PrimaryMetricGoal.MINIMIZE}
    budget = {} if sampling.max_duration_minutes is None else {"max_duration_minutes": sampling.max_duration_minutes}
    return hyperdrive.HyperDriveConfig(
        run_config=training,
        hyperparameter_sampling=samplers[str(sampling.method)](expressions),
        policy=_policy(sampling),
        primary_metric_name=sampling.primary_metric_name,
        primary_metric_goal=goals[str(sampling.primary_metric_goal)],
        max_total_runs=sampling.max_total_runs,
        max_concurrent_runs=sampling.max_concurrent_runs,
        custom_run_id=run_id,
        **budget,
    )


def _expression(distribution: Distribution | None) -> Any:
    from azureml.train import hyperdrive

    if distribution is None:
        raise ValueError("a parameter without a distribution is a mistake in the settings")
    given = [getattr(distribution.parameters, name) for name in type(distribution.parameters).model_fields]
    if distribution.distribution == "choice":
        return hyperdrive.choice(list(given[0]))
    if distribution.distribution == "quniform":
        given = [int(value) if float(value).is_integer() else value for value in given]  # Bayesian sampling wants ints
    return getattr(hyperdrive, distribution.distribution)(*given)


def _policy(sampling: HyperparameterSamplingSettings) -> Any:
    from azureml.train import hyperdrive

    policy = sampling.policy
    when = {"evaluation_interval": policy.evaluation_interval, "delay_evaluation": policy.delay_evaluation}
    if policy.name == "bandit":
        slack = {"slack_factor": policy.bandit.slack_factor, "slack_amount": policy.bandit.slack_amount}
        return hyperdrive.BanditPolicy(**slack, **when)
    if policy.name == "medianstopping":
        return hyperdrive.MedianStoppingPolicy(**when)
    if policy.name == "truncationselection":
        percentage = policy.truncationselection.truncation_percentage
        return hyperdrive.TruncationSelectionPolicy(truncation_percentage=percentage, **when)
    return hyperdrive.NoTerminationPolicy()


def wait_for_tuning(
    target: WorkspaceTarget, experiment: ExperimentSettings, run_id: str, minutes: float, flow_run_id: str
) -> Tuning:
    """Wait until the tuning has ended and bring back its children, the best of them among them.

    A tuning that has used up its max_duration_minutes is a tuning: what has completed until then counts.

    Raises:
        MetricNotLogged: the first child to complete has not logged the primary metric; the tuning is cancelled.
        CancelledWithAnother: it was cancelled because another flow run was.
        TrainingError: the tuning failed or was cancelled, or no child completed with a finite metric.
        OperationTimeout: it did not end in time; it is cancelled.
    """
    workspace = open_workspace(target)
    watch = _Watch(workspace, experiment, run_id)
    next_step = "Look at it in the Azure ML studio."
    try:
        with explained(TrainingError, f"watch tuning '{run_id}'", next_step):
            poll(watch.look, lambda _: watch.status in FINAL, what=f"tuning '{run_id}'", minutes=minutes)
    except (TrainingError, ConnectionToAzureError):
        raise
    except MetricNotLogged:
        watch.parent.cancel()  # whoever else waits for it would wait in vain
        raise
    except BaseException:
        # Ctrl-C, a deadline, a cancelled flow.
        cancel_if_own(watch.parent, flow_run_id)
        raise
    parent, sampling = watch.parent, experiment.hyperparameter_sampling
    see_whether_cancelled_with_another(parent, watch.status, flow_run_id)
    if watch.status in FAILED and not (watch.status == "Canceled" and _used_up(parent, sampling)):
        failed = next((child for child in parent.get_children() if child.get_status() == "Failed"), None)
        raise TrainingError(
            f"Tuning '{run_id}' ended as {watch.status}{reason_of(parent)}.",
            "Mend what the end of the log says, and start the flow again.",
            log_tail=log_tail(failed) if failed is not None else None,
        )
    best = best_trial(watch.trials, sampling.primary_metric_goal)
    if best is None:
        raise TrainingError(
            f"No child of tuning '{run_id}' has completed with a finite '{sampling.primary_metric_name}'.",
            f"Look at its children in the Azure ML studio; give it more time with {_SETTINGS}.max_duration_minutes.",
        )
    return Tuning(
        run_id=run_id,
        portal_url=parent.get_portal_url(),
        method=sampling.method,
        policy=None if sampling.policy.name == "noterminal" else sampling.policy.name,
        metric=sampling.primary_metric_name,
        goal=sampling.primary_metric_goal,
        trials=watch.trials,
        best=best.number,
    )


class _Watch:
    """What is seen of a tuning; a child that has ended is asked once."""

    def __init__(self, workspace: Workspace, experiment: ExperimentSettings, run_id: str) -> None:
        self._workspace = workspace
        self._run_id = run_id
        self._sampling = experiment.hyperparameter_sampling
        self._ended: dict[str, Trial] = {}
        self.parent: HyperDriveRun = self._parent()
        self.status = ""
        self.trials: tuple[Trial, ...] = ()

    def _parent(self) -> HyperDriveRun:
        run = find_run(self._workspace, self._run_id)
        if run is None:
            raise TrainingError(f"There is no tuning '{self._run_id}'.", "Start the flow again.")
        return run

    def look(self) -> str:
        """Look at the parent and its children; says in a line how far it is.

        Raises:
            MetricNotLogged: the first child that has completed has not logged the primary metric.
        """
        self.parent = self._parent()
        self.status = str(self.parent.get_status())
        hyperparameters = self.parent.get_hyperparameters()
        found = [self._trial(child, hyperparameters.get(child.id)) for child in self.parent.get_children()]
        self.trials = tuple(sorted(found, key=lambda trial: trial.number))
        report_rows(rows(self.trials, self._sampling))
        ended = sum(trial.state in FINAL for trial in self.trials)
        report_percent(100 * ended / self._sampling.max_total_runs if self._sampling.max_total_runs else 0)
        return progress(self.trials, self._sampling)

    def _trial(self, child: Run, hyperparameters: str | None) -> Trial:
        if child.id in self._ended:
            return self._ended[child.id]
        ended = child.status in FINAL
        # The parent's tag may come late; the child has the same.
        known = hyperparameters or child.tags.get("hyperparameters")
        trial = Trial(
            number=int(child.id.rpartition("_")[2]),
            run_id=child.id,
            hyperparameters=json.loads(known or "{}"),
            metric=self._metric(child) if ended else None,
            state=child.status,
        )
        if ended and known:
            self._ended[child.id] = trial
        return trial

    def _metric(self, child: Run) -> float | None:
        """The best value of the primary metric, as HyperDrive ranks children."""
        name = self._sampling.primary_metric_name
        logged = child.get_metrics(name).get(name)
        values = [float(value) for value in (logged if isinstance(logged, list) else [logged]) if value is not None]
        finite = [value for value in values if math.isfinite(value)]
        if finite:
            return max(finite) if self._sampling.primary_metric_goal == "max" else min(finite)
        if values:
            return math.nan
        if child.status == "Completed" and all(trial.metric is None for trial in self._ended.values()):
            seen = ", ".join(sorted(child.get_metrics())) or "nothing"
            raise MetricNotLogged(
                f"Child '{child.id}' has completed without having logged the primary metric '{name}'; "
                f"it has logged: {seen}. The tuning was cancelled.",
                f"Log '{name}' in the training script with run.log, or correct {_SETTINGS}.primary_metric_name.",
            )
        return None


def best_trial(trials: Sequence[Trial], goal: str | None) -> Trial | None:
    """The best child that has completed: one that was cancelled has left no model."""
    completed = [trial for trial in trials if trial.state == "Completed" and _finite(trial.metric)]
    if not completed:
        return None
    return (max if goal == "max" else min)(completed, key=lambda trial: trial.metric or 0.0)


def _finite(metric: float | None) -> bool:
    return metric is not None and math.isfinite(metric)


def progress(trials: Sequence[Trial], sampling: HyperparameterSamplingSettings) -> str:
    """``7 of 20 done, 2 stopped early, best mse 2890.1 (--alpha 0.23)``"""
    ended = [trial for trial in trials if trial.state in FINAL]
    counted = {"Canceled": "stopped early", "Failed": "failed"}
    parts = [f"{len(ended)} of {sampling.max_total_runs} done"]
    for state, words in counted.items():
        number = sum(trial.state == state for trial in ended)
        if number:
            parts.append(f"{number} {words}")
    best = best_trial(trials, sampling.primary_metric_goal)
    if best is not None:
        parts.append(f"best {sampling.primary_metric_name} {best.metric:.6g} ({described(best)})")
    return ", ".join(parts)


def described(trial: Trial) -> str:
    """``--alpha 0.23 --kernel rbf``"""
    return " ".join(f"{name} {shown(value)}" for name, value in trial.hyperparameters.items())


def shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def rows(trials: Sequence[Trial], sampling: HyperparameterSamplingSettings) -> Rows:
    """The children as a table, the best one marked."""
    best = best_trial(trials, sampling.primary_metric_goal)
    header = ["child", *sampling.parameters, sampling.primary_metric_name or "", "state"]
    table = [header]
    for trial in trials:
        values = [shown(trial.hyperparameters.get(name, "")) for name in sampling.parameters]
        metric = "" if trial.metric is None else f"{trial.metric:.6g}"
        table.append([str(trial.number), *values, metric, f"{trial.state}, best" if trial is best else trial.state])
    return table


def _used_up(parent: Run, sampling: HyperparameterSamplingSettings) -> bool:
    """Whether a tuning was cancelled by its own budget, rather than by a person."""
    if sampling.max_duration_minutes is None:
        return False
    return seconds_of(parent.get_details()) >= sampling.max_duration_minutes * 60 * _USED_UP


def best_run(
    target: WorkspaceTarget,
    experiment: ExperimentSettings,
    compute: ReadyCompute,
    environment: RegisteredEnvironment,
    tuning: Tuning,
) -> TrainedRun:
    """The best child of a tuning, as the gate gets it.

    Raises:
        TrainingError: it cannot be read.
    """
    best = tuning.best_trial
    run = find_run(open_workspace(target), best.run_id)
    if run is None:
        raise TrainingError(f"The best child '{best.run_id}' is not there any more.", "Start the flow again.")
    report(f"child {best.number} of {len(tuning.trials)}: {described(best)}")
    return trained_run(experiment, compute, environment, run, best.hyperparameters)


submit_tuning_task = azure_operation("submit tuning")(submit_tuning)
wait_for_tuning_task = azure_operation("tuning", lasting=True)(wait_for_tuning)
best_run_task = azure_operation("best run")(best_run)
