"""Training: submit the script as a run, wait for it, and bring back what it logged.

Azure: https://learn.microsoft.com/azure/machine-learning/how-to-set-up-training-targets; SDK:
``azureml.core.ScriptRunConfig``.
"""

from __future__ import annotations

import math
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from settings.experiment import ExperimentSettings
from settings.workspace import WorkspaceTarget
from tasks.cache_key import cache_key, content_of, relevant_settings
from tasks.errors import TrainingError
from tasks.operation import azure_operation, explained, first_sentences
from tasks.progress import report
from tasks.values import (
    FLOW_RUN_TAG,
    Hyperparameter,
    Origin,
    ReadyCompute,
    RegisteredEnvironment,
    SubmittedRun,
    TrainedRun,
)
from tasks.waiting import poll
from tasks.workspace import open_workspace

if TYPE_CHECKING:
    from azureml.core import Run, ScriptRunConfig, Workspace

MODEL_FILE_VARIABLE = "MODEL_FILE"
"""Where the training script learns the path, below its working directory, that the settings want the model at."""

KEY_TAG = "mlops_key"
"""The tag of a run that holds the key of all that its result depends on."""

FAILED = ("Failed", "Canceled", "NotResponding")
FINAL = ("Completed", *FAILED)
_LOG_LINES = 20
# How long each state takes nobody knows before; only that they follow each other.
_PERCENT = {"Preparing": 10.0, "Queued": 20.0, "Running": 30.0, "Finalizing": 90.0, **dict.fromkeys(FINAL, 100.0)}


def submit_training(
    target: WorkspaceTarget,
    experiment: ExperimentSettings,
    model_path: str,
    compute: ReadyCompute,
    environment: RegisteredEnvironment,
    origin: Origin,
) -> SubmittedRun:
    """Submit the training script, unless a run of the same script on the same inputs is there already.

    Such a run has the same id, which is made of all that its result depends on: it is found again by a retry, by a flow
    that was killed and is started again, and by any later flow.

    Args:
        model_path: where the script is to write the model, below its working directory.
        origin: of the submission; says, too, whether what others have made may be taken.

    Raises:
        TrainingError: the script is not there, or Azure refuses the run.
    """
    check_entry_script(experiment)
    workspace = open_workspace(target)
    key = experiment_key("training", target, experiment, model_path, environment, origin)
    run = attempt_of(workspace, f"{experiment.name}_{key}")
    if run.found:
        adopt(workspace, run, origin)
        return run
    from azureml.core import Experiment

    with explained(TrainingError, f"submit training run '{run.run_id}'", "Check experiment.* in the settings."):
        configuration = training_configuration(workspace, experiment, model_path, compute, environment)
        Experiment(workspace, experiment.name).submit(
            configuration, tags=run_tags(experiment, key, origin), run_id=run.run_id
        )
    return run


def experiment_key(
    kind: Literal["training", "tuning"],
    target: WorkspaceTarget,
    experiment: ExperimentSettings,
    model_path: str,
    environment: RegisteredEnvironment,
    origin: Origin,
) -> str:
    """The key of all that the result of an experiment depends on."""
    from azureml._project.ignore_file import get_project_ignore_file

    directory = Path(experiment.source_directory)
    return cache_key(
        kind,
        workspace=f"{target.subscription_id}/{target.resource_group}/{target.name}",
        source=content_of(directory, get_project_ignore_file(str(directory.resolve())).is_file_excluded),
        experiment=relevant_settings(experiment.model_dump(mode="json")),
        model_path=model_path,
        environment=environment.model_dump(),
        data=origin.data_fingerprint,
        fresh=origin.flow_run_id if origin.fresh else None,
    )


def run_tags(experiment: ExperimentSettings, key: str, origin: Origin) -> dict[str, str]:
    """The tags of a run: those of the settings, its key, and the flow run that it was made for."""
    return {**experiment.run_tags, KEY_TAG: key, FLOW_RUN_TAG: origin.flow_run_id}


def attempt_of(workspace: Workspace, run_id: str) -> SubmittedRun:
    """The run that was submitted before and has not failed, or else the next id that is free: ``<run_id>_2``."""
    attempt = run_id
    for number in count(2):
        found = find_run(workspace, attempt)
        if found is None:
            return SubmittedRun(run_id=attempt, found=None)
        status = found.get_status()
        if status not in FAILED:
            report("found completed" if status == "Completed" else f"found {status}, submitted before")
            return SubmittedRun(run_id=attempt, found="completed" if status == "Completed" else "going on")
        attempt = f"{run_id}_{number}"
    raise LookupError("count() has no end")


def check_entry_script(experiment: ExperimentSettings) -> None:
    """Raises:
    TrainingError: the training script is not there.
    """
    script = Path(experiment.source_directory, experiment.entry_script)
    if not script.is_file():
        raise TrainingError(
            f"The training script {script} is not there.",
            "Correct experiment.source_directory and experiment.entry_script in the settings.",
        )


def training_configuration(
    workspace: Workspace,
    experiment: ExperimentSettings,
    model_path: str,
    compute: ReadyCompute,
    environment: RegisteredEnvironment,
) -> ScriptRunConfig:
    """What one run of the training script is, for a run of its own and for each child of a tuning."""
    from azureml.core import Environment, ScriptRunConfig

    configuration = ScriptRunConfig(
        source_directory=experiment.source_directory,
        script=experiment.entry_script,
        arguments=arguments(experiment),
        compute_target=compute.name,
        environment=Environment.get(workspace, environment.name, environment.version),
        max_run_duration_seconds=experiment.max_run_duration_seconds,
    )
    history = configuration.run_config.history
    history.output_collection = experiment.history.output_collection
    history.snapshot_project = experiment.history.snapshot_project
    history.directories_to_watch = list(experiment.history.directories_to_watch)
    docker = configuration.run_config.docker
    docker.use_docker = experiment.docker.use_docker or docker.use_docker
    docker.shm_size = experiment.docker.shm_size or docker.shm_size
    configuration.run_config.environment_variables = {
        MODEL_FILE_VARIABLE: model_path,
        **experiment.environment_variables,
    }
    return configuration


def arguments(experiment: ExperimentSettings) -> list[str | int | float]:
    """The script's command line: ``{"--alpha": 0.5, "--fast": null}`` is ``--alpha 0.5 --fast``.

    What is tuned stays out: each child gets its own value.
    """
    sampling = experiment.hyperparameter_sampling
    tuned = sampling.parameters if sampling.use_hyperparameter_sampling else {}
    line: list[str | int | float] = []
    for name, value in experiment.script_parameters.items():
        if name in tuned:
            continue
        line.append(name)
        if value is not None:
            line.append(str(value).lower() if isinstance(value, bool) else value)
    return line


def wait_for_training(
    target: WorkspaceTarget,
    experiment: ExperimentSettings,
    compute: ReadyCompute,
    environment: RegisteredEnvironment,
    run_id: str,
    minutes: float,
    flow_run_id: str,
) -> TrainedRun:
    """Wait until the run has ended and bring back its metrics.

    Args:
        flow_run_id: of who waits.

    Raises:
        TrainingError: the run failed or was cancelled; carries the end of its log.
        OperationTimeout: it did not end in time; the run is cancelled.
    """
    workspace = open_workspace(target)
    run = find_run(workspace, run_id)
    if run is None:
        raise TrainingError(f"There is no training run '{run_id}'.", "Start the flow again.")
    try:
        with explained(TrainingError, f"watch training run '{run_id}'", "Look at it in the Azure ML studio."):
            status = poll(
                run.get_status,
                FINAL.__contains__,
                what=f"training run '{run_id}'",
                minutes=minutes,
                percent=lambda state: _PERCENT.get(state, 0.0),
            )
    except TrainingError:
        raise
    except BaseException:
        # Ctrl-C, a deadline or a cancelled flow.
        cancel_if_own(run, flow_run_id)
        raise
    if status != "Completed":
        raise TrainingError(
            f"Training run '{run_id}' ended as {status}{reason_of(run)}.",
            "Mend what the end of its log says, and start the flow again.",
            log_tail=log_tail(run),
        )
    return trained_run(experiment, compute, environment, run)


def adopt(workspace: Workspace, run: SubmittedRun, origin: Origin) -> None:
    """Make a run that still goes on ours: whoever waited for it before may be dead."""
    found = find_run(workspace, run.run_id) if run.found == "going on" else None
    if found is not None:
        found.tag(FLOW_RUN_TAG, origin.flow_run_id)


def cancel_if_own(run: Run, flow_run_id: str) -> None:
    """Cancel a run that nobody waits for any more, since it costs money; not one that another flow run waits for."""
    if run.get_tags().get(FLOW_RUN_TAG) == flow_run_id:
        run.cancel()


def trained_run(
    experiment: ExperimentSettings,
    compute: ReadyCompute,
    environment: RegisteredEnvironment,
    run: Run,
    hyperparameters: dict[str, Hyperparameter] | None = None,
) -> TrainedRun:
    """A completed run as the gate gets it.

    Raises:
        TrainingError: its metrics cannot be read.
    """
    with explained(TrainingError, f"read the metrics of training run '{run.id}'", "Start the flow again."):
        metrics = read_metrics(run)
    return TrainedRun(
        experiment=experiment.name,
        run_id=run.id,
        metrics=metrics,
        hyperparameters=hyperparameters or {},
        portal_url=run.get_portal_url(),
        environment_name=environment.name,
        environment_version=environment.version,
        compute_target=compute.name,
    )


def read_metrics(run: Run) -> dict[str, float]:
    """The run's numbers by name; of a metric that was logged several times, the last. Tables and texts are left out."""
    metrics: dict[str, float] = {}
    for name, logged in run.get_metrics().items():
        value = logged[-1] if isinstance(logged, list) and logged else logged
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            metrics[name] = float(value)
        elif isinstance(value, str) and value.lower() in ("nan", "inf", "-inf", "infinity", "-infinity"):
            metrics[name] = math.nan if value.lower() == "nan" else float(value)
    return metrics


def find_run(workspace: Any, run_id: str) -> Run | None:
    from azureml._restclient.exceptions import ServiceException
    from azureml.core import Run

    with explained(TrainingError, f"look for training run '{run_id}'", "Start the flow again."):
        try:
            return Run.get(workspace, run_id)
        except ServiceException as error:
            if error.status_code == 404:
                return None
            raise


def reason_of(run: Run) -> str:
    error = (run.get_details().get("error") or {}).get("error") or {}
    return first_sentences(error.get("message"))


def log_tail(run: Run) -> str | None:
    """The end of the log that says most: the image build's when the script was never started, else the script's."""
    import requests

    files = run.get_details().get("logFiles") or {}
    for name in sorted(files, reverse=True):
        if "driver_log" in name or "std_log" in name or "image_build" in name:
            answer = requests.get(files[name], timeout=30)
            lines = answer.text.splitlines() if answer.ok else []
            if lines:
                return "\n".join(lines[-_LOG_LINES:])
    return None


submit_training_task = azure_operation("submit training")(submit_training)
wait_for_training_task = azure_operation("training", lasting=True)(wait_for_training)
