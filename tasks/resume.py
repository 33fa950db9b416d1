"""Resuming: which former run's outputs are handed to the next one."""

from __future__ import annotations

from settings.deployment import DeploymentSettings
from settings.experiment import ResumeStateSettings
from settings.workspace import WorkspaceTarget
from tasks.errors import TrainingError
from tasks.evaluation import production_model
from tasks.operation import azure_operation, explained
from tasks.progress import report
from tasks.run_data import OUTPUTS
from tasks.training import find_run
from tasks.workspace import open_workspace


def find_former_run(
    target: WorkspaceTarget, resumed: ResumeStateSettings, deployment: DeploymentSettings
) -> str | None:
    """The id of the run whose outputs are the state: the one that the settings name, or that made production's model.

    Returns:
        None when production serves no model yet: the first run has nothing to go on from.

    Raises:
        TrainingError: there is no such run, or it has kept no outputs.
    """
    run_id = resumed.run_id
    if run_id is None:
        served = production_model(target, deployment)
        if served is None:
            report("production serves no model yet: training starts afresh")
            return None
        run_id = served.run_id
    run = find_run(open_workspace(target), run_id)
    if run is None:
        raise TrainingError(
            f"There is no run '{run_id}' whose outputs could be handed on.",
            "Correct experiment.resume_state.run_id in the settings.",
        )
    with explained(TrainingError, f"list the outputs of run '{run_id}'", "Look at them in the Azure ML studio."):
        files = run.get_file_names()
    if not any(name.startswith(OUTPUTS) for name in files):
        raise TrainingError(
            f"Run '{run_id}' has kept no outputs that could be handed on.",
            "Name another run in experiment.resume_state.run_id, or set resume_from_state to false.",
        )
    report(run_id)
    return run_id


find_former_run_task = azure_operation("former run")(find_former_run)
