"""Training: submit the script as a run, wait for it, and bring back what it logged.

Azure: https://learn.microsoft.com/azure/machine-learning/how-to-set-up-training-targets; SDK:
``azureml.core.ScriptRunConfig``.
"""

from __future__ import annotations

import math
import os
import time
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from settings.experiment import DistributedTrainingSettings, ExperimentSettings
from settings.workspace import WorkspaceTarget
from tasks.cache_key import cache_key, content_of, relevant_settings
from tasks.environment import packages_to_change
from tasks.errors import CancelledWithAnother, EnvironmentBuildError, MlopsError, TrainingError
from tasks.operation import azure_operation, explained, first_sentences
from tasks.progress import lines_are_heard, report
from tasks.run_data import fingerprints, run_data
from tasks.run_log import FollowedLogs, log_tail, was_started
from tasks.values import (
    CANCELLED_BY_TAG,
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
    from azureml.core.runconfig import MpiConfiguration, PyTorchConfiguration, TensorflowConfiguration

    from settings.deployment import ModelSettings

MODEL_NAME_VARIABLE = "MODEL_NAME"
"""Where the training script learns the name under which the settings want the model registered."""

MODEL_FILE_VARIABLE = "MODEL_FILE"
"""Where the training script learns the path, below its working directory, that the settings want the model at."""

KEY_TAG = "mlops_key"
"""The tag of a run that holds the key of all that its result depends on."""

FAILED = ("Failed", "Canceled", "NotResponding")
FINAL = ("Completed", *FAILED)
# How long each state takes nobody knows before; only that they follow each other.
_PERCENT = {"Preparing": 10.0, "Queued": 20.0, "Running": 30.0, "Finalizing": 90.0, **dict.fromkeys(FINAL, 100.0)}

_HINT_AFTER_MINUTES = 2
_NODES_HINT = "nodes of the compute target start, are busy with other runs, or exceed the quota of the subscription"
_BUILD_HINT = "the image of the environment is built, which takes minutes the first time; --verbose shows its log"
_HINTS = {
    "NotStarted": _NODES_HINT,
    "Starting": _NODES_HINT,
    "Provisioning": _NODES_HINT,
    "Queued": _NODES_HINT,
    "Preparing": _BUILD_HINT,
}


def submit_training(
    target: WorkspaceTarget,
    experiment: ExperimentSettings,
    model: ModelSettings,
    compute: ReadyCompute,
    environment: RegisteredEnvironment,
    origin: Origin,
    former_run_id: str | None = None,
) -> SubmittedRun:
    """Submit the training script, unless a run of the same script on the same inputs is there already.

    Such a run has the same id, which is made of all that its result depends on: it is found again by a retry, by a flow
    that was killed and is started again, and by any later flow.

    Args:
        model: what the script is to make; it is told name and path.
        origin: of the submission; says, too, whether what others have made may be taken.
        former_run_id: the run whose outputs are handed on.

    Raises:
        TrainingError: the source directory is too large, data is not there, or Azure refuses the run.
    """
    run, key = found_or_next("training", target, experiment, model, compute, environment, origin, former_run_id)
    if run.found:
        return run
    workspace = open_workspace(target)
    from azureml.core import Experiment

    configuration = training_configuration(workspace, experiment, model, compute, environment, former_run_id)
    with explained(TrainingError, f"submit training run '{run.run_id}'", "Check experiment.* in the settings."):
        Experiment(workspace, experiment.name).submit(
            configuration, tags=run_tags(experiment, key, origin), run_id=run.run_id
        )
    return run


def found_or_next(
    kind: Literal["training", "tuning"],
    target: WorkspaceTarget,
    experiment: ExperimentSettings,
    model: ModelSettings,
    compute: ReadyCompute,
    environment: RegisteredEnvironment,
    origin: Origin,
    former_run_id: str | None,
) -> tuple[SubmittedRun, str]:
    """The run of the same on the same inputs, which is ours from now on, or the next to submit; and its key.

    Raises:
        TrainingError: the source directory is too large.
    """
    check_source_directory(experiment.source_directory)
    workspace = open_workspace(target)
    key = experiment_key(kind, target, experiment, model, compute.name, environment, origin, former_run_id)
    run = attempt_of(workspace, f"{experiment.name}_{key}")
    adopt(workspace, run, origin)
    return run, key


def experiment_key(
    kind: Literal["training", "tuning"],
    target: WorkspaceTarget,
    experiment: ExperimentSettings,
    model: ModelSettings,
    compute: str,
    environment: RegisteredEnvironment,
    origin: Origin,
    former_run_id: str | None,
) -> str:
    """The key of all that the result of an experiment depends on.

    Args:
        compute: the name of the compute target; how many of its nodes a run takes is one of the experiment's settings.
    """
    from azureml._project.ignore_file import get_project_ignore_file

    directory = Path(experiment.source_directory)
    return cache_key(
        kind,
        workspace=f"{target.subscription_id}/{target.resource_group}/{target.name}",
        source=content_of(directory, get_project_ignore_file(str(directory.resolve())).is_file_excluded),
        experiment=relevant_settings(experiment.model_dump(mode="json")),
        model=[model.name, model.path],
        compute=compute,
        environment=environment.model_dump(),
        data=origin.data_fingerprint,
        references=fingerprints(target, experiment),
        former_run=former_run_id,
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


def check_source_directory(directory: str) -> None:
    """See that the SDK will take a source directory, before anything of it is uploaded.

    Raises:
        TrainingError: what .amlignore leaves of it is more than ``ScriptRunConfig`` takes.
    """
    from azureml._project.ignore_file import get_project_ignore_file
    from azureml._restclient.constants import SNAPSHOT_MAX_FILES, SNAPSHOT_MAX_SIZE_BYTES

    is_excluded = get_project_ignore_file(directory).is_file_excluded
    count, size = 0, 0
    for folder, folders, names in os.walk(directory):
        folders[:] = [name for name in folders if not is_excluded(str(Path(folder, name)))]
        files = [Path(folder, name) for name in names if not is_excluded(str(Path(folder, name)))]
        count += len(files)
        size += sum(file.stat().st_size for file in files if file.exists())
    if count > SNAPSHOT_MAX_FILES or size > SNAPSHOT_MAX_SIZE_BYTES:
        megabytes, most = size / 1024**2, SNAPSHOT_MAX_SIZE_BYTES / 1024**2
        raise TrainingError(
            f"The source directory {directory} has {count} files of {megabytes:.0f} MB in all, and Azure ML takes "
            f"{SNAPSHOT_MAX_FILES} files of {most:.0f} MB.",
            "Exclude what the training does not need in an .amlignore file; name data in experiment.data_references.",
        )


def training_configuration(
    workspace: Workspace,
    experiment: ExperimentSettings,
    model: ModelSettings,
    compute: ReadyCompute,
    environment: RegisteredEnvironment,
    former_run_id: str | None = None,
) -> ScriptRunConfig:
    """What one run of the training script is, for a run of its own and for each child of a tuning.

    Raises:
        TrainingError: its environment or its data is not there.
    """
    from azureml.core import Environment, ScriptRunConfig
    from azureml.core.runconfig import DockerConfiguration

    with explained(TrainingError, f"get environment '{environment.name}'", "Start the flow again."):
        registered = Environment.get(workspace, environment.name, environment.version)
    data = run_data(workspace, experiment, former_run_id and found_run(workspace, former_run_id))
    docker = DockerConfiguration(use_docker=bool(experiment.docker.use_docker))
    docker.shm_size = experiment.docker.shm_size or docker.shm_size
    configuration = ScriptRunConfig(
        source_directory=experiment.source_directory,
        script=experiment.entry_script,
        arguments=[*arguments(experiment), *data.arguments],
        compute_target=compute.name,
        environment=registered,
        distributed_job_config=distribution(experiment.distributed_training),
        max_run_duration_seconds=experiment.max_run_duration_seconds,
        docker_runtime_config=docker,
    )
    run_configuration = configuration.run_config
    # The SDK takes a node for each worker of a parameter server; the settings say how many nodes they share.
    run_configuration.node_count = experiment.distributed_training.node_count
    run_configuration.data_references = data.references
    run_configuration.source_directory_data_store = experiment.source_directory_datastore
    history = run_configuration.history
    history.output_collection = experiment.history.output_collection
    history.directories_to_watch = list(experiment.history.directories_to_watch)
    run_configuration.environment_variables = {
        MODEL_NAME_VARIABLE: model.name,
        MODEL_FILE_VARIABLE: model.path,
        **experiment.environment_variables,
    }
    return configuration


def distribution(
    wanted: DistributedTrainingSettings,
) -> MpiConfiguration | TensorflowConfiguration | PyTorchConfiguration | None:
    """The SDK's configuration of the processes of a run; None for a single one."""
    from azureml.core.runconfig import MpiConfiguration, PyTorchConfiguration, TensorflowConfiguration

    backend, nodes = wanted.backend_config, wanted.node_count
    if backend is None:
        return None
    if backend == "mpi":
        return MpiConfiguration(wanted.mpi.process_count_per_node, nodes)
    if backend == "parameter_server":
        servers = wanted.parameter_server
        return TensorflowConfiguration(servers.worker_count, servers.parameter_server_count)
    processes = (wanted.gloo if backend == "gloo" else wanted.nccl).process_count_per_node * nodes
    return PyTorchConfiguration(backend, processes, nodes)


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
    """Wait until the run has ended and bring back its metrics. Its logs are shown as they come, where somebody listens.

    Args:
        flow_run_id: of who waits.

    Raises:
        TrainingError: the run failed or was cancelled; carries the end of its log.
        CancelledWithAnother: it was cancelled because another flow run was.
        EnvironmentBuildError: its environment cannot be built; carries the end of the build's log.
        OperationTimeout: it did not end in time; the run is cancelled.
    """
    run = found_run(open_workspace(target), run_id)
    watch = RunWatch(run)
    try:
        with explained(TrainingError, f"watch training run '{run_id}'", "Look at it in the Azure ML studio."):
            status = poll(
                watch.look,
                FINAL.__contains__,
                what=f"training run '{run_id}'",
                minutes=minutes,
                describe=watch.describe,
                percent=lambda state: _PERCENT.get(state, 0.0),
            )
    except TrainingError:
        raise
    except BaseException:
        # Ctrl-C, a deadline or a cancelled flow.
        cancel_if_own(run, flow_run_id)
        raise
    see_whether_cancelled_with_another(run, status, flow_run_id)
    if status != "Completed":
        raise failure_of(run, status, experiment)
    return trained_run(experiment, compute, environment, run)


class RunWatch:
    """What is seen of a run that is waited for: its state, for how long, and its logs."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._logs = FollowedLogs(run)
        self._state, self._since = "", time.monotonic()

    def look(self) -> str:
        """The run's status now; new lines of its logs are shown, where somebody listens."""
        status = str(self._run.get_status())
        if lines_are_heard():
            self._logs.show_new_lines()
        if status != self._state:
            self._state, self._since = status, time.monotonic()
        return status

    def describe(self, status: str) -> str:
        return described(status, time.monotonic() - self._since)


def described(status: str, seconds: float) -> str:
    """``Queued for 3 min: ...``: the state of a run, how long it has lasted, and what may be the reason."""
    minutes = int(seconds // 60)
    if minutes == 0 or status in FINAL:
        return status
    hint = _HINTS.get(status) if minutes >= _HINT_AFTER_MINUTES else None
    return f"{status} for {minutes} min" + (f": {hint}" if hint else "")


def failure_of(run: Run, status: str, experiment: ExperimentSettings) -> MlopsError:
    """Why a run has ended as it did, and what to do about it."""
    details = run.get_details()
    limit = experiment.max_run_duration_seconds
    if status == "Canceled" and limit is not None and seconds_of(details) >= limit:
        return TrainingError(
            f"Training run '{run.id}' was cancelled after its limit of {limit} seconds.",
            "Raise experiment.max_run_duration_seconds, or make the training shorter.",
            log_tail=log_tail(run),
        )
    tail = log_tail(run)
    if status == "Failed" and not was_started(run):
        return EnvironmentBuildError(
            f"Training run '{run.id}' could not start{reason_of(run)}.", packages_to_change(experiment, tail), tail
        )
    return TrainingError(
        f"Training run '{run.id}' ended as {status}{reason_of(run)}.",
        "Mend what the end of its log says, and start the flow again.",
        log_tail=tail,
    )


def seconds_of(details: dict[str, Any]) -> float:
    """How long a run went on, from its details; 0 when it never started."""
    start, end = (details.get(key) for key in ("startTimeUtc", "endTimeUtc"))
    if not start or not end:
        return 0.0
    import pandas as pd  # reads any number of digits after the second, as Azure writes; Python 3.10 does not

    return float((pd.Timestamp(end) - pd.Timestamp(start)).total_seconds())


def adopt(workspace: Workspace, run: SubmittedRun, origin: Origin) -> None:
    """Make a run that still goes on ours: whoever waited for it before may be dead."""
    found = find_run(workspace, run.run_id) if run.found == "going on" else None
    if found is not None:
        found.tag(FLOW_RUN_TAG, origin.flow_run_id)


def cancel_if_own(run: Run, flow_run_id: str) -> None:
    """Cancel a run that nobody waits for any more, since it costs money; not one that another flow run has found since.

    Who has waited for it before may still do so: a tag tells why it has gone.
    """
    if run.get_tags().get(FLOW_RUN_TAG) == flow_run_id:
        run.tag(CANCELLED_BY_TAG, flow_run_id)
        run.cancel()


def see_whether_cancelled_with_another(run: Run, status: str, flow_run_id: str) -> None:
    """See that a run was not cancelled because another flow run was, which had found it and waited for it, too.

    Raises:
        CancelledWithAnother: it was.
    """
    by = run.get_tags().get(CANCELLED_BY_TAG) if status == "Canceled" else None
    if by is not None and by != flow_run_id:
        raise CancelledWithAnother(
            f"Run '{run.id}' was cancelled with flow run {by}, which waited for it, too.", "Start the flow again."
        )


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


def found_run(workspace: Workspace, run_id: str) -> Run:
    """The run of that id.

    Raises:
        TrainingError: there is none.
    """
    run = find_run(workspace, run_id)
    if run is None:
        raise TrainingError(f"There is no training run '{run_id}'.", "Start the flow again.")
    return run


def find_run(workspace: Workspace, run_id: str) -> Run | None:
    """The run of that id; None when there is none."""
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


submit_training_task = azure_operation("submit training")(submit_training)
wait_for_training_task = azure_operation("training", lasting=True)(wait_for_training)
