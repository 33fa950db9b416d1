"""Carries out submitted runs, each in a task of its own: environment, node, process, artifacts."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emulator import child_processes
from emulator.client_environment import client_environment
from emulator.environments.builder import EnvironmentBuildError, recipe_of
from emulator.errors import ServiceError, not_emulated
from emulator.execution.distribution import LOG, free_ports, ports_needed, processes_of
from emulator.execution.local_processes import (
    MissingLauncherError,
    Nodes,
    ProcessFailureError,
    run_mpi,
    run_processes,
)
from emulator.execution.nodes import Allocation, NodePool
from emulator.execution.process import RunContext, command_line, failure_sentence, process_environment
from emulator.execution.remote_machine import (
    ClientFiles,
    RemoteFailureError,
    fetch,
    make_environment,
    on_machine,
    run_remotely,
)
from emulator.execution.run_data import (
    DataInput,
    Files,
    StagedData,
    copy_files,
    files_at,
    joined,
    stage_inputs,
    stage_outputs,
    stage_references,
)
from emulator.execution.submission import RunConfiguration
from emulator.history.store import Run, error_response
from emulator.management.scaling import Scale
from emulator.management.ssh import Account, LoginError
from emulator.management.store import Workspace

if TYPE_CHECKING:
    from emulator.server import Emulator

log = logging.getLogger("emulator.execution")

_ORIGIN = "ExperimentRun"
_BUILD_LOG = "azureml-logs/20_image_build_log.txt"
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
        move("Preparing")
        account = self._emulator.management.store.account(workspace, configuration.target)
        if account is None:
            interpreter = await self._emulator.environments.builder.ensure(
                configuration.environment, self._artifact(workspace, run, _BUILD_LOG)
            )
        ended = False
        while not ended:
            move("Queued")
            pool = self.pool(workspace, configuration.target)
            async with pool.take(run.run_id, configuration.distribution.nodes) as allocation:
                if account is None:
                    carry_out = partial(self._run_processes, workspace, run, configuration, interpreter)
                else:
                    carry_out = partial(self._run_on_machine, workspace, run, configuration, account)
                attempt = self._attempt(workspace, run, configuration, carry_out, allocation)
                ended = await _unless_lost(attempt, allocation)
            if not ended:
                history.warn(
                    workspace,
                    run.run_id,
                    "execution",
                    f"A node of compute target '{configuration.target}' was pre-empted: the run was queued again and "
                    "starts from its beginning.",
                )

    async def _attempt(
        self,
        workspace: Workspace,
        run: Run,
        configuration: RunConfiguration,
        carry_out: Callable[[Nodes, StagedData], Coroutine[Any, Any, None]],
        allocation: Allocation,
    ) -> None:
        """Carry a run out on its nodes, from the beginning."""
        nodes = Nodes(self.directory(workspace, run.run_id), partial(self._artifact, workspace, run))
        try:
            for number in range(allocation.count):
                snapshot = run.properties[SNAPSHOT_PROPERTY]
                await self._emulator.content.restore(workspace, snapshot, nodes.directory(number))
            found = {name: self.input_files(workspace, data) for name, data in configuration.data.items()}
            data = await asyncio.to_thread(self._stage, workspace, run, configuration, nodes, found)
            self._emulator.history.store.transition(workspace, run.run_id, "Running")
            try:
                await self._run_in_time(run, configuration, nodes, carry_out(nodes, data))
            finally:
                if not self._stopping and not allocation.lost.is_set():
                    await self._collect(workspace, run, configuration.collected, nodes, allocation.count, data)
        finally:
            await asyncio.to_thread(shutil.rmtree, nodes.root, ignore_errors=True)

    def _stage(
        self,
        workspace: Workspace,
        run: Run,
        configuration: RunConfiguration,
        nodes: Nodes,
        found: Mapping[str, tuple[str, Files]],
    ) -> StagedData:
        """Put the run's data on its nodes. All have it in the same place: they are on one machine."""
        node, folder = nodes.directory(0), nodes.root / "data"
        store = partial(self._emulator.datasets.folder, workspace)
        return joined(
            [
                stage_references(configuration.data_references, node, folder, store),
                stage_inputs(configuration.data, node, folder, found),
                stage_outputs(configuration.output_data, run.run_id, node, folder, store),
            ]
        )

    async def _run_in_time(
        self, run: Run, configuration: RunConfiguration, nodes: Nodes, carried_out: Coroutine[Any, Any, None]
    ) -> None:
        limit = configuration.max_run_duration_seconds
        try:
            await asyncio.wait_for(carried_out, limit)
        except asyncio.TimeoutError:
            raise _DurationExceeded(
                f"The run took longer than its maxRunDurationSeconds of {limit:g} and was canceled."
            ) from None
        except (MissingLauncherError, LoginError, RemoteFailureError) as error:
            raise _RunFailure(f"Run '{run.run_id}' cannot be carried out. {error}") from error
        except ProcessFailureError as failure:
            tail = child_processes.tail(nodes.log(failure.log), _TAIL_LINES)
            raise _RunFailure(
                failure_sentence(configuration, run.run_id, failure.exit_code, tail, failure.title)
            ) from failure

    async def _run_processes(
        self,
        workspace: Workspace,
        run: Run,
        configuration: RunConfiguration,
        interpreter: Path,
        nodes: Nodes,
        data: StagedData,
    ) -> None:
        """Carry a run out with processes of this machine."""
        distribution = configuration.distribution
        variables = self._variables(workspace, run, configuration, interpreter) | data.variables
        command = [data.resolved(word) for word in command_line(configuration, interpreter)]
        processes = processes_of(distribution, free_ports(ports_needed(distribution)))
        if distribution.kind == "mpi":
            await run_mpi(distribution, processes[0], command, variables, nodes, interpreter)
        else:
            await run_processes(processes, command, variables, nodes)

    async def _run_on_machine(
        self,
        workspace: Workspace,
        run: Run,
        configuration: RunConfiguration,
        account: Account,
        nodes: Nodes,
        data: StagedData,
    ) -> None:
        """Carry a run out on a machine that is attached by SSH."""
        directory = self._emulator.state.directory
        port = int(self._emulator.url.rpartition(":")[2])
        client = ClientFiles(directory / "client" / "cloud.json", directory / "tls" / "bundle.pem", port)
        inner = self._emulator.management.store.compute(workspace, configuration.target).inner
        address, ssh_port = inner["address"], int(inner["sshPort"])
        async with on_machine(address, ssh_port, account, nodes, run.run_id, client) as place:
            environment = configuration.environment
            python = environment.get("python") or {}
            if python.get("userManagedDependencies"):
                interpreter = python.get("interpreterPath") or "python"
            else:
                log = self._artifact(workspace, run, _BUILD_LOG)
                interpreter = await make_environment(place, environment["name"], recipe_of(environment), log)
            variables = self._variables(workspace, run, configuration, Path(interpreter), machine={}) | data.variables
            command = [data.resolved(word) for word in command_line(configuration, Path(interpreter))]
            try:
                await run_remotely(place, command, variables, client, LOG)
            finally:
                made = [nodes.directory(0) / name for name in configuration.collected]
                await asyncio.shield(fetch(place, [*made, *(local for local, _ in data.uploads)]))

    def _variables(
        self,
        workspace: Workspace,
        run: Run,
        configuration: RunConfiguration,
        interpreter: Path,
        machine: Mapping[str, str] = os.environ,
    ) -> dict[str, str]:
        identity = self._emulator.identity
        client = client_environment(
            self._emulator.state.directory, self._emulator.url, identity.client_id, identity.client_secret
        )
        return process_environment(self._context(workspace, run), configuration, interpreter, client, machine)

    async def _collect(
        self,
        workspace: Workspace,
        run: Run,
        directories: tuple[str, ...],
        nodes: Nodes,
        count: int,
        data: StagedData,
    ) -> None:
        self._emulator.history.store.transition(workspace, run.run_id, "Finalizing")
        for number in range(count):
            for name in directories:
                await self._emulator.artifacts.add_folder(
                    workspace, _ORIGIN, run.data_container_id, name, nodes.directory(number) / name
                )
        for local, folder in data.uploads:
            await asyncio.to_thread(copy_files, files_at(local, ""), folder)

    def input_files(self, workspace: Workspace, data: DataInput) -> tuple[str, Files]:
        """The id of an input's data set and, unless its script reads it by itself, its files.

        Raises:
            ServiceError: 404 for a data set or datastore that is not there; 501 for what the emulator does not read.
        """
        datasets, location = self._emulator.datasets, data.data_location
        if location.data_path is not None and location.data_path.relative_path:
            root = datasets.folder(workspace, location.data_path.datastore_name)
            return location.data_path.relative_path, files_at(root, location.data_path.relative_path)
        if location.dataset is None:
            raise not_emulated("an input of a run that is neither a data set nor a path of a datastore")
        version = None if location.dataset.version is None else str(location.dataset.version)
        saved = datasets.saved_id(workspace, location.dataset.id, location.dataset.name, version)
        if data.mechanism.lower() == "direct":
            return saved, Files({}, single=False)
        root = datasets.folder(workspace, None)
        found = [files_at(root, path) for path in datasets.paths(workspace, saved)]
        if len(found) == 1:
            return saved, found[0]
        return saved, Files({path: file for files in found for path, file in files.by_path.items()}, single=False)

    def _artifact(self, workspace: Workspace, run: Run, name: str) -> Path:
        return self._emulator.artifacts.path(workspace, _ORIGIN, run.data_container_id, name)

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

    def pool(self, workspace: Workspace, compute: str) -> NodePool:
        """The nodes of a compute target."""
        key = (workspace.id, compute.lower())
        if key not in self._pools:
            self._pools[key] = NodePool(self._emulator.state, lambda: self._scale(workspace, compute))
        return self._pools[key]

    def _scale(self, workspace: Workspace, compute: str) -> Scale | None:
        found = self._emulator.management.store.find_compute(workspace, compute)
        return None if found is None else found.scale


async def _unless_lost(attempt: Coroutine[Any, Any, None], allocation: Allocation) -> bool:
    """Let an attempt end, or end it when its nodes are taken away; says whether it has ended by itself."""
    task = asyncio.create_task(attempt)
    lost = asyncio.create_task(allocation.lost.wait())
    try:
        await asyncio.wait((task, lost), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            await task
            return True
        return False
    finally:
        lost.cancel()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
