"""Processes that the emulator starts: each leads a group of its own and never outlives the emulator."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


class Process(Protocol):
    """What is asked of a process; :class:`asyncio.subprocess.Process` answers it."""

    @property
    def pid(self) -> int: ...

    @property
    def returncode(self) -> int | None: ...

    async def wait(self) -> int: ...


def _die_with_parent() -> None:
    # Runs between fork and exec: only a system call on a library that is already loaded.
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


async def spawn(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path,
    stdout: Path,
    pass_fds: Sequence[int] = (),
) -> asyncio.subprocess.Process:
    """Start a program; what it prints, on either stream, is appended to ``stdout``.

    It gets SIGTERM from the kernel when the emulator ends without stopping it, for example when that is killed.

    Raises:
        OSError: the program cannot be started.
    """
    stdout.parent.mkdir(parents=True, exist_ok=True)
    with stdout.open("ab") as output:
        return await asyncio.create_subprocess_exec(
            *argv,
            env=dict(env),
            cwd=cwd,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=pass_fds,
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )


async def terminate(process: Process, grace_seconds: float) -> None:
    """End a process that leads a group, and the whole group: SIGTERM, then SIGKILL after the grace."""
    if process.returncode is None:
        _signal_group(process.pid, signal.SIGTERM)
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(process.wait(), grace_seconds)
    # Also after an end in good order: the group may have members that did not end with their leader.
    _signal_group(process.pid, signal.SIGKILL)
    await process.wait()


def _signal_group(pid: int, number: signal.Signals) -> None:
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        return


def tail(path: Path, lines: int = 20) -> str:
    """The last lines of a log; empty when there is none."""
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else ""
