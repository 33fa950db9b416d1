"""Carries out submitted runs, each in a task of its own: environment, node, process, artifacts."""

from __future__ import annotations

import asyncio
import logging
import shutil
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from emulator import child_processes
from emulator.client_environment import client_environment
from emulator.environments.builder import EnvironmentBuildError
from emulator.errors import ServiceError
from emulator.execution.nodes import NodePool
from emulator.execution.process import RunContext, command_line, failure_sentence, process_environment
from emulator.execution.submission import RunConfiguration
from emulator.history.store import Run, error_response
from emulator.management.store import Workspace

if TYPE_CHECKING:
    from emulator.server import Emulator

log = logging.getLogger("emulator.execution")

_ORIGIN = "ExperimentRun"
_BUILD_LOG = "azureml-logs/20_image_build_log.txt"
_OUTPUT_LOG = "user_logs/std_log.txt"
_GRACE_SECONDS = 5.0  # between SIGTERM and SIGKILL of a canceled run
_TAIL_LINES = 30
SNAPSHOT_PROPERTY = "ContentSnapshotId"


class _RunFailure(Exception):  # noqa: N818 - becomes the error of a run, never leaves this module
    """A run has failed; ``str()`` is the message of its error."""


class _DurationExceeded(Exception):  # noqa: N818 - becomes a warning of a run, never leaves this module
    """A run took longer than its configuration allows."""


class RunSupervisor:
    """Knows every run that waits or goes on, and moves its status as it gets on:
    Preparing (its environment), Queued (for a node), Running, Finalizing (its files), and how it ended."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator
        self._pools: dict[tuple[str, str], NodePool] = {}
        self._tasks: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._stopping = False

    def nodes_in_use(self, workspace: Workspace, compute: str) -> int:
        pool = self._pools.get((workspace.id, compute.lower()))
        return 0 if pool is None else pool.in_use

    def launch(self, workspace: Workspace, run: Run, configuration: RunConfiguration) -> None:
        """Begin to carry a run out; what becomes of it is written into history."""
        key = (workspace.id, run.run_id)
        self._tasks[key] = asyncio.create_task(self._carry_out(workspace, run, configuration))
        self._tasks[key].add_done_callback(lambda _: self._tasks.pop(key))

    def cancel(self, workspace: Workspace, run_id: str) -> None:
        """End a run that waits or goes on, with every process that it has started."""
        task = self._tasks.get((workspace.id, run_id))
        if task is not None:
            task.cancel()

    async def stop(self) -> None:
        """End all runs and leave their status as it is: :meth:`ExecutionService.start` reads from it what to do."""
        self._stopping = True
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def fail(self, workspace: Workspace, run_id: str, message: str) -> None:
        error = error_response("UserError", message, workspace)
        self._emulator.history.store.transition(workspace, run_id, "Failed", error)

    async def _carry_out(self, workspace: Workspace, run: Run, configuration: RunConfiguration) -> None:
        history = self._emulator.history.store
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
            self.fail(workspace, run.run_id, f"{error.message}{tail}")
        except (_RunFailure, ServiceError) as error:
            self.fail(workspace, run.run_id, str(error))
        except Exception as error:  # a run must end, whatever happens
            log.exception("run %s", run.run_id)
            self.fail(workspace, run.run_id, f"The emulator failed: {error}. `python -m emulator logs` says why.")

    async def _execute(self, workspace: Workspace, run: Run, configuration: RunConfiguration) -> None:
        history = self._emulator.history.store
        move = partial(history.transition, workspace, run.run_id)
        container = run.data_container_id
        move("Preparing")
        interpreter = await self._emulator.environments.builder.ensure(
            configuration.environment, self._emulator.artifacts.path(workspace, _ORIGIN, container, _BUILD_LOG)
        )
        move("Queued")
        async with self._pool(workspace, configuration.target).node(run.run_id):
            directory = self.directory(workspace, run.run_id)
            try:
                await self._emulator.content.restore(workspace, run.properties[SNAPSHOT_PROPERTY], directory)
                move("Running")
                output = self._emulator.artifacts.path(workspace, _ORIGIN, container, _OUTPUT_LOG)
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
        identity = self._emulator.identity
        client = client_environment(
            self._emulator.state.directory, self._emulator.url, identity.client_id, identity.client_secret
        )
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
        self._emulator.history.store.transition(workspace, run.run_id, "Finalizing")
        for name in ("outputs", "logs"):
            await self._emulator.artifacts.add_folder(workspace, _ORIGIN, run.data_container_id, name, directory / name)

    def _context(self, workspace: Workspace, run: Run) -> RunContext:
        token, expiry = self._emulator.identity.issue_run_token(run.run_id)
        experiment = self._emulator.history.store.experiment_by_id(workspace, run.experiment_id)
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
            service_endpoint=self._emulator.url,
        )

    def directory(self, workspace: Workspace, run_id: str) -> Path:
        """Where a run's snapshot is laid out while it goes on."""
        return self._emulator.state.directory / "runs" / workspace.id / run_id

    def _pool(self, workspace: Workspace, compute: str) -> NodePool:
        key = (workspace.id, compute.lower())
        if key not in self._pools:
            self._pools[key] = NodePool(self._emulator.state, lambda: self._max_nodes(workspace, compute))
        return self._pools[key]

    def _max_nodes(self, workspace: Workspace, compute: str) -> int:
        found = self._emulator.management.store.find_compute(workspace, compute)
        return 0 if found is None else found.max_nodes
