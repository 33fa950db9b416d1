"""Execution: takes submitted runs and has them carried out on their compute target."""

from __future__ import annotations

import shutil
import time
import uuid
from typing import TYPE_CHECKING
from urllib.parse import quote

from aiohttp import web

from emulator.content.store import NO_SNAPSHOT
from emulator.errors import ServiceError, bad_request, not_emulated
from emulator.execution.distribution import has_nvidia_gpu
from emulator.execution.nodes import NodePool
from emulator.execution.submission import RunConfiguration, parse_configuration
from emulator.execution.supervisor import SNAPSHOT_PROPERTY, RunSupervisor
from emulator.history.store import Experiment, Run
from emulator.management.store import Workspace
from emulator.routing import Request, Route, answer
from emulator.service import Service
from emulator.state import Record

if TYPE_CHECKING:
    from emulator.server import Emulator

_EXPERIMENT = "/execution/v1.0/{WS}/experiments/{experiment}"
_CARRIES_OUT_RUNS = ("AmlCompute", "VirtualMachine")
_WAITING = frozenset({"NotStarted", "Starting", "Preparing", "Queued"})


class ExecutionService(Service):
    """Takes submitted runs, and takes up again what was going on when the emulator last stopped."""

    def __init__(self, emulator: Emulator) -> None:
        super().__init__(emulator)
        self._supervisor = RunSupervisor(emulator)

    def routes(self) -> list[Route]:
        return [
            Route("POST", _EXPERIMENT + "/snapshotrun", self.submit_snapshot),
            Route("POST", _EXPERIMENT + "/localrun", self.refuse_local),
            Route("POST", _EXPERIMENT + "/runs/{run}/cancel", self.cancel_run),
        ]

    def pool(self, workspace: Workspace, compute: str) -> NodePool:
        """The nodes of a compute target that carries out runs."""
        return self._supervisor.pool(workspace, compute)

    async def start(self) -> None:
        """Queue again what was waiting when the emulator ended, and fail what was running: its process is gone."""
        history = self.emulator.history.store
        for workspace in self.emulator.management.store.workspaces():
            for run in history.runs(workspace):
                definition = history.definition(workspace, run.run_id)
                if run.is_terminal or definition is None:
                    continue
                if run.status in _WAITING:
                    self._supervisor.launch(workspace, run, parse_configuration(definition))
                elif run.status == "CancelRequested":
                    history.transition(workspace, run.run_id, "Canceled")
                else:
                    self._supervisor.fail(
                        workspace, run.run_id, "The emulator ended while the run was going on: submit it again."
                    )
                shutil.rmtree(self._supervisor.directory(workspace, run.run_id), ignore_errors=True)

    async def stop(self) -> None:
        await self._supervisor.stop()

    async def refuse_local(self, _: Request) -> web.Response:
        raise not_emulated("runs on target 'local' (submit to an AmlCompute target)")

    async def submit_snapshot(self, request: Request) -> web.Response:
        body, workspace = await request.json(), request.workspace
        experiment = self.emulator.history.store.experiment(workspace, request.params["experiment"])
        run = self.submit(
            workspace,
            experiment,
            request.query.get("runId") or f"{experiment.name}_{int(time.time())}_{uuid.uuid4().hex[:8]}",
            body["Configuration"],
            created_by=self.emulator.history.created_by(request),
            snapshot_id=body.get("SnapshotId") or NO_SNAPSHOT,
            parent_run_id=body.get("ParentRunId"),
        )
        return answer({"runId": run.run_id})

    def submit(
        self,
        workspace: Workspace,
        experiment: Experiment,
        run_id: str,
        definition: Record,
        *,
        created_by: Record,
        snapshot_id: str = NO_SNAPSHOT,
        parent_run_id: str | None = None,
    ) -> Run:
        """Take a run and have it carried out; what becomes of it is read from history.

        Args:
            workspace: of the run.
            experiment: of the run.
            run_id: of the run; there must be no submitted run with it.
            definition: the run configuration as the SDK sends it (``azureml.core.RunConfiguration``).
            created_by: ``CreatedByDto`` of whoever submits it.
            snapshot_id: of its source directory.
            parent_run_id: of the run that it is a child of, in the same workspace.

        Raises:
            ServiceError: 400, 404 or 501 for what cannot be carried out, 409 for an id that was used before; then
                there is no run.
        """
        history = self.emulator.history.store
        definition = self.checked(workspace, experiment, definition, snapshot_id)
        configuration = parse_configuration(definition)
        input_datasets = self._input_datasets(workspace, configuration)
        if history.definition(workspace, run_id) is not None:
            raise ServiceError(409, "Conflict", f"A run '{run_id}' was submitted before: choose another id.")
        patch: Record = {
            "status": "Starting",
            "runType": "azureml.scriptrun",
            "parentRunId": parent_run_id,
            "scriptName": configuration.script,
            "target": configuration.target,
            "inputDatasets": input_datasets,
            "cancelUri": f"{self.emulator.url}/execution/v1.0{workspace.arm_id}"
            f"/experiments/{quote(experiment.name)}/runs/{quote(run_id)}/cancel",
            # Not the snapshot's: an unchanged directory keeps the one that an earlier commit has made, and the SDK adds
            # the revision of today to the run itself.
            "properties": {SNAPSHOT_PROPERTY: snapshot_id, "_azureml.ComputeTargetType": "amlctrain"},
        }
        run = history.upsert(workspace, experiment, run_id, patch, created_by)
        history.put_definition(workspace, run_id, definition)
        self._supervisor.launch(workspace, run, configuration)
        return run

    def checked(self, workspace: Workspace, experiment: Experiment, definition: Record, snapshot_id: str) -> Record:
        """The run configuration of a submission that can be carried out, with its environment registered.

        Raises:
            ServiceError: 400, 404 or 501 for what cannot be.
        """
        configuration = parse_configuration(definition)
        self._check_target(workspace, configuration)
        self.emulator.content.store.snapshot(workspace, snapshot_id)
        environment = self.emulator.environments.store.resolve(
            workspace, f"Experiment {experiment.name} Environment", configuration.environment
        )
        return {**definition, "environment": environment.payload()}

    def _input_datasets(self, workspace: Workspace, configuration: RunConfiguration) -> list[Record]:
        """What ``run.get_details()["inputDatasets"]`` reads. Each data set and datastore must be there.

        Raises:
            ServiceError: 404.
        """
        for reference in configuration.data_references.values():
            self.emulator.datasets.folder(workspace, reference.data_store_name)
        found = []
        for name, data in configuration.data.items():
            saved_id, _ = self._supervisor.input_files(workspace, data)
            details = {
                "inputName": name,
                "mechanism": data.mechanism.capitalize(),
                "pathOnCompute": data.path_on_compute,
            }
            identifier = {"savedId": saved_id}
            if data.data_location.dataset is not None:
                found.append({"identifier": identifier, "consumptionType": "RunInput", "inputDetails": details})
        return found

    def _check_target(self, workspace: Workspace, configuration: RunConfiguration) -> None:
        name, distribution = configuration.target, configuration.distribution
        compute = self.emulator.management.store.find_compute(workspace, name)
        if compute is None:
            have = ", ".join(one.name for one in self.emulator.management.store.computes(workspace)) or "none"
            raise bad_request(f"Compute target '{name}' was not found in this workspace, which has: {have}.")
        if compute.compute_type not in _CARRIES_OUT_RUNS:
            raise bad_request(
                f"Compute target '{name}' is {compute.compute_type}: a run needs one of {', '.join(_CARRIES_OUT_RUNS)}."
            )
        if compute.state != "Succeeded":
            raise bad_request(
                f"Compute target '{name}' is {compute.state}: delete it and create it anew before a run is submitted."
            )
        if compute.attached and distribution.kind != "single":
            raise bad_request(
                f"Compute target '{name}' is one attached machine and takes runs of one process: submit a distributed "
                "run to an AmlCompute target."
            )
        if distribution.nodes > compute.scale.maximum:
            raise bad_request(
                f"The run takes {distribution.nodes} nodes, and compute target '{name}' has at most "
                f"{compute.scale.maximum}: raise its max_nodes, or lower the run's node_count."
            )
        if distribution.needs_gpu and not has_nvidia_gpu():
            raise bad_request(
                "The communication backend nccl needs GPUs of NVIDIA, which this machine does not have: use gloo, or "
                "submit the run on Azure to a compute target with GPUs."
            )

    async def cancel_run(self, request: Request) -> web.Response:
        self.cancel(request.workspace, request.params["run"])
        return answer({})

    def cancel(self, workspace: Workspace, run_id: str) -> None:
        """End a run that waits or goes on; one that has ended stays as it is.

        Raises:
            ServiceError: 404.
        """
        history = self.emulator.history.store
        run = history.run(workspace, run_id)
        if run.status != "CancelRequested" and not run.is_terminal:
            history.transition(workspace, run_id, "CancelRequested")
            self._supervisor.cancel(workspace, run_id)
