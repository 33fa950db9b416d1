"""What a flow run has made for itself and did not get to remove: found by its tag, and ended.

SDK: ``azureml.core.Experiment.get_runs``, ``azureml.core.webservice.Webservice``.
"""

from __future__ import annotations

from settings.deployment import DeploymentSettings
from settings.workspace import WorkspaceTarget
from tasks.deployment import STAGES_FOR_TESTS, service_name
from tasks.errors import MlopsError
from tasks.evaluation import find_service
from tasks.operation import explained
from tasks.training import FINAL, cancel_if_own
from tasks.values import FLOW_RUN_TAG
from tasks.workspace import open_workspace


def remove_leftovers(
    target: WorkspaceTarget, experiment: str, deployment: DeploymentSettings, flow_run_id: str
) -> tuple[str, ...]:
    """Cancel the runs of a flow run that go on, and delete its services for tests; says in sentences what it did.

    Raises:
        ConnectionToAzureError: there is no login or no connection.
        MlopsError: Azure refuses.
    """
    from azureml.core import Experiment

    workspace, done = open_workspace(target), []
    with explained(MlopsError, f"end what flow run {flow_run_id} has left", "Look for its tag in the Azure ML studio."):
        for run in Experiment(workspace, experiment).get_runs(tags={FLOW_RUN_TAG: flow_run_id}):
            if run.get_status() not in FINAL:
                cancel_if_own(run, flow_run_id)
                done.append(f"Training run '{run.id}' is cancelled.")
        for stage in STAGES_FOR_TESTS:
            service = find_service(workspace, service_name(deployment, stage))
            if service is not None and (service.tags or {}).get(FLOW_RUN_TAG) == flow_run_id:
                service.delete()
                done.append(f"Service '{service.name}' is deleted.")
    return tuple(done)
