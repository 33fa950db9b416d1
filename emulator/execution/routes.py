"""Execution: takes submitted runs, queues them for their compute target and carries them out."""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
import uuid
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from aiohttp import web

from emulator import child_processes
from emulator.client_environment import client_environment
from emulator.content.store import NO_SNAPSHOT
from emulator.environments.builder import EnvironmentBuildError
from emulator.errors import ServiceError, bad_request, not_emulated
from emulator.execution.nodes import NodePool
from emulator.execution.process import RunContext, command_line, failure_sentence, process_environment
from emulator.execution.submission import RunConfiguration, parse_configuration
from emulator.history.store import Run, error_response
from emulator.management.store import Workspace
from emulator.routing import Request, Route, answer
from emulator.service import Service
from emulator.state import Record

if TYPE_CHECKING:
    from emulator.server import Emulator

log = logging.getLogger("emulator.execution")

_EXPERIMENT = "/execution/v1.0/{WS}/experiments/{experiment}"
_ORIGIN = "ExperimentRun"
_BUILD_LOG = "azureml-logs/20_image_build_log.txt"
_OUTPUT_LOG = "user_logs/std_log.txt"
_GRACE_SECONDS = 5.0  # between SIGTERM and SIGKILL of a canceled run
_TAIL_LINES = 30
_WAITING = frozenset({"NotStarted", "Starting", "Preparing", "Queued"})
_SNAPSHOT = "ContentSnapshotId"


class _RunFailure(Exception):  # noqa: N818 - becomes the error of a run, never leaves this module
    """A run has failed; ``str()`` is the message of its error."""


class _DurationExceeded(Exception):  # noqa: N818 - becomes a warning of a run, never leaves this module
    """A run took longer than its configuration allows."""


class ExecutionService(Service):
    """Carries out what is submitted, each run in a task of its own: environment, node, process, artifacts."""

    def __init__(self, emulator: Emulator) -> None:
        super().__init__(emulator)
        self._pools: dict[tuple[str, str], NodePool] = {}
        self._tasks: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._stopping = False

    def routes(self) -> list[Route]:
        return [
            Route("POST", _EXPERIMENT + "/snapshotrun", self.submit),
            Route("POST", _EXPERIMENT + "/localrun", self.refuse_local),
            Route("POST", _EXPERIMENT + "/runs/{run}/cancel", self.cancel),
        ]

    def nodes_in_use(self, workspace: Workspace, compute: str) -> int:
        pool = self._pools.get((workspace.id, compute.lower()))
        return 0 if pool is None else pool.in_use

    async def start(self) -> None:
        """Queue again what was waiting when the emulator ended, and fail what was running: its process is gone."""
        history = self.emulator.history.store
        for workspace in self.emulator.management.store.workspaces():
            for run in history.runs(workspace):
                definition = history.definition(workspace, run.run_id)
                if run.is_terminal or definition is None:
                    continue
                if run.status in _WAITING:
                    self._launch(workspace, run, parse_configuration(definition))
                elif run.status == "CancelRequested":
                    history.transition(workspace, run.run_id, "Canceled")
                else:
                    self._fail(workspace, run.run_id, "The emulator ended while the run was going on: submit it again.")
                shutil.rmtree(self._directory(workspace, run.run_id), ignore_errors=True)

    async def stop(self) -> None:
        self._stopping = True
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def refuse_local(self, _: Request) -> web.Response:
        raise not_emulated("runs on target 'local' (submit to an AmlCompute target)")

    async def submit(self, request: Request) -> web.Response:
        body, workspace = await request.json(), request.workspace
        history = self.emulator.history.store
        experiment = history.experiment(workspace, request.params["experiment"])
        configuration = parse_configuration(body["Configuration"])
        self._check_target(workspace, configuration.target)
        environment = self.emulator.environments.store.resolve(
            workspace, f"Experiment {experiment.name} Environment", configuration.environment
        )
        definition = {**body["Configuration"], "environment": environment.payload()}
        snapshot = self.emulator.content.store.snapshot(workspace, body.get("SnapshotId") or NO_SNAPSHOT)
        run_id = request.query.get("runId") or f"{experiment.name}_{int(time.time())}_{uuid.uuid4().hex[:8]}"
        if history.definition(workspace, run_id) is not None:
            raise ServiceError(409, "Conflict", f"A run '{run_id}' was submitted before: choose another id.")
        git = {name: value for name, value in snapshot.properties.items() if value}
        patch: Record = {
            "status": "Starting",
            "runType": "azureml.scriptrun",
            "parentRunId": body.get("ParentRunId"),
            "scriptName": configuration.script,
            "target": configuration.target,
            "cancelUri": f"{self.emulator.url}/execution/v1.0{workspace.arm_id}"
            f"/experiments/{quote(experiment.name)}/runs/{quote(run_id)}/cancel",
            "properties": {_SNAPSHOT: snapshot.id, "_azureml.ComputeTargetType": "amlctrain", **git},
        }
        run = history.upsert(workspace, experiment, run_id, patch, self.emulator.history.created_by(request))
        history.put_definition(workspace, run_id, definition)
        self._launch(workspace, run, parse_configuration(definition))
        return answer({"runId": run_id})

    def _check_target(self, workspace: Workspace, name: str) -> None:
        compute = self.emulator.management.store.find_compute(workspace, name)
        if compute is None:
            have = ", ".join(one.name for one in self.emulator.management.store.computes(workspace)) or "none"
            raise bad_request(f"Compute target '{name}' was not found in this workspace, which has: {have}.")
        if compute.compute_type != "AmlCompute":
            raise bad_request(f"Compute target '{name}' is {compute.compute_type}: a run needs an AmlCompute target.")

    def _launch(self, workspace: Workspace, run: Run, configuration: RunConfiguration) -> None:
        key = (workspace.id, run.run_id)
        self._tasks[key] = asyncio.create_task(self._carry_out(workspace, run, configuration))
        self._tasks[key].add_done_callback(lambda _: self._tasks.pop(key))

    async def cancel(self, request: Request) -> web.Response:
        workspace, run_id = request.workspace, request.params["run"]
        run = self.emulator.history.store.transition(workspace, run_id, "CancelRequested")
        task = self._tasks.get((workspace.id, run_id))
        if task is not None and not run.is_terminal:
            task.cancel()
        return answer({})

    async def _carry_out(self, workspace: Workspace, run: Run, configuration: RunConfiguration) -> None:
        history = self.emulator.history.store
        try:
            await self._execute(workspace, run, configuration)
            history.transition(workspace, run.run_id, "Completed")
        except asyncio.CancelledError:
            if self._stopping:
                raise  # what the emulator's next start makes of it follows from the status that is kept
            history.transition(workspace, run.run_id, "Canceled")
        except _DurationExceeded as excess:
            history.warn(workspace, run.run_id, "execution", str(excess))
            history.transition(workspace, run.run_id, "Canceled")
        except EnvironmentBuildError as error:
            tail = f" The build log ends with:\n{error.log_tail}" if error.log_tail else ""
            self._fail(workspace, run.run_id, f"{error.message}{tail}")
        except (_RunFailure, ServiceError) as error:
            self._fail(workspace, run.run_id, str(error))
        except Exception as error:  # a run must end, whatever happens
            log.exception("run %s", run.run_id)
            self._fail(workspace, run.run_id, f"The emulator failed: {error}. `python -m emulator logs` says why.")

    def _fail(self, workspace: Workspace, run_id: str, message: str) -> None:
        error = error_response("UserError", message, workspace)
        self.emulator.history.store.transition(workspace, run_id, "Failed", error)

    async def _execute(self, workspace: Workspace, run: Run, configuration: RunConfiguration) -> None:
        history = self.emulator.history.store
        move = partial(history.transition, workspace, run.run_id)
        container = run.data_container_id
        move("Preparing")
        interpreter = await self.emulator.environments.builder.ensure(
            configuration.environment, self.emulator.artifacts.path(workspace, _ORIGIN, container, _BUILD_LOG)
        )
        move("Queued")
        async with self._pool(workspace, configuration.target).node(run.run_id):
            directory = self._directory(workspace, run.run_id)
            try:
                await self.emulator.content.restore(workspace, run.properties[_SNAPSHOT], directory)
                move("Running")
                output = self.emulator.artifacts.path(workspace, _ORIGIN, container, _OUTPUT_LOG)
                try:
                    await self._run_process(workspace, run, configuration, interpreter, directory, output)
                finally:
                    if not self._stopping:
                        await self._collect(workspace, run, directory)
            finally:
                await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)

    async def _run_process(
        self,
        workspace: Workspace,
        run: Run,
        configuration: RunConfiguration,
        interpreter: Path,
        directory: Path,
        output: Path,
    ) -> None:
        identity = self.emulator.identity
        client = client_environment(self.state.directory, self.emulator.url, identity.client_id, identity.client_secret)
        variables = process_environment(self._context(workspace, run), configuration, interpreter, client)
        command = command_line(configuration, interpreter)
        process = await child_processes.spawn(command, env=variables, cwd=directory, stdout=output)
        limit = configuration.max_run_duration_seconds
        try:
            exit_code = await asyncio.wait_for(process.wait(), limit)
        except asyncio.TimeoutError:
            raise _DurationExceeded(
                f"The run took longer than its maxRunDurationSeconds of {limit:g} and was canceled."
            ) from None
        finally:
            # Whatever the script has started ends with it, as the container would.
            await child_processes.terminate(process, _GRACE_SECONDS)
        if exit_code != 0:
            tail = child_processes.tail(output, _TAIL_LINES)
            raise _RunFailure(failure_sentence(configuration, run.run_id, exit_code, tail))

    async def _collect(self, workspace: Workspace, run: Run, directory: Path) -> None:
        self.emulator.history.store.transition(workspace, run.run_id, "Finalizing")
        for name in ("outputs", "logs"):
            await self.emulator.artifacts.add_folder(workspace, _ORIGIN, run.data_container_id, name, directory / name)

    def _context(self, workspace: Workspace, run: Run) -> RunContext:
        token, expiry = self.emulator.identity.issue_run_token(run.run_id)
        experiment = self.emulator.history.store.experiment_by_id(workspace, run.experiment_id)
        return RunContext(
            subscription=workspace.subscription,
            resource_group=workspace.resource_group,
            workspace_name=workspace.name,
            workspace_id=workspace.id,
            experiment_name=experiment.name,
            experiment_id=experiment.experiment_id,
            run_id=run.run_id,
            token=token,
            token_expiry=expiry,
            service_endpoint=self.emulator.url,
        )

    def _directory(self, workspace: Workspace, run_id: str) -> Path:
        return self.state.directory / "runs" / workspace.id / run_id

    def _pool(self, workspace: Workspace, compute: str) -> NodePool:
        key = (workspace.id, compute.lower())
        if key not in self._pools:
            self._pools[key] = NodePool(self.state, lambda: self._max_nodes(workspace, compute))
        return self._pools[key]

    def _max_nodes(self, workspace: Workspace, compute: str) -> int:
        found = self.emulator.management.store.find_compute(workspace, compute)
        return 0 if found is None else found.max_nodes
