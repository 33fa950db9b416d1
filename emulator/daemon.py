"""Start, find and stop the emulator as a process in the background."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from emulator.errors import StartupError

_START_SECONDS = 60.0
_STOP_SECONDS = 20.0
_KILL_SECONDS = 5.0


@dataclass(frozen=True)
class Running:
    """A running emulator, as it has written itself down in ``emulator.json``."""

    pid: int
    url: str
    scoring_url: str
    state_directory: str
    client_id: str
    client_secret: str


def _wait(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def hold_lock(state_directory: Path) -> IO[str] | None:
    """The lock that the one emulator of a state directory holds while it lives; ``None`` when another has it.

    The kernel gives it back however the process ends, so that a stale file is never taken for a running emulator.

    Raises:
        StartupError: the state directory cannot be written.
    """
    try:
        state_directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = (state_directory / "emulator.lock").open("a")
    except OSError as error:
        raise StartupError(
            f"the state directory {state_directory} cannot be written ({error.strerror}): "
            "choose another with --state-dir, or make it writable."
        ) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def _is_locked(state_directory: Path) -> bool:
    if not (state_directory / "emulator.lock").exists():
        return False
    lock = hold_lock(state_directory)
    if lock is not None:
        lock.close()
    return lock is None


def find(state_directory: Path) -> Running | None:
    """The emulator that runs over this state directory, if there is one."""
    description = state_directory / "emulator.json"
    if not _is_locked(state_directory) or not description.exists():
        return None
    return Running(**json.loads(description.read_text()))


def describe(running: Running) -> str:
    return json.dumps(asdict(running), indent=2)


def start(state_directory: Path, port: int | None) -> tuple[Running, bool]:
    """Start the emulator and wait until it answers, or find the one that runs already.

    Returns:
        the emulator, and whether this call started it.

    Raises:
        StartupError: it cannot start; says why.
    """
    running = find(state_directory)
    if running is not None:
        if port is not None and running.url.rpartition(":")[2] != str(port):
            raise StartupError(
                f"an emulator runs already with state directory {state_directory}, on {running.url} and not on port "
                f"{port}: stop it first with `python -m emulator stop`, or leave --port out."
            )
        return running, False
    # Made here, so that a directory that cannot be written is said at once and by the caller.
    lock = hold_lock(state_directory)
    if lock is not None:
        (state_directory / "emulator.json").unlink(missing_ok=True)
        lock.close()
    failure = state_directory / f"failure-{os.getpid()}.txt"
    command = [sys.executable, "-m", "emulator", "serve", "--state-dir", str(state_directory)]
    command += ["--failure-file", str(failure)]
    if port is not None:
        command += ["--port", str(port)]
    try:
        with (state_directory / "emulator.log").open("a") as output:
            process = subprocess.Popen(
                command,
                cwd=Path(__file__).resolve().parent.parent,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        _wait(lambda: find(state_directory) is not None or process.poll() not in (None, 0), _START_SECONDS)
        running = find(state_directory)
        if running is not None:
            return running, running.pid == process.pid
        if process.poll() is None:
            process.kill()
        reason = failure.read_text() if failure.exists() else "its log ends with:\n" + log_tail(state_directory)
        raise StartupError(f"the emulator did not start: {reason}")
    finally:
        failure.unlink(missing_ok=True)


def stop(state_directory: Path) -> bool:
    """Stop the emulator and everything that it started; says whether one was running.

    Raises:
        StartupError: it does not end, even when killed.
    """
    running = find(state_directory)
    if running is None:
        return False
    for number, seconds in ((signal.SIGTERM, _STOP_SECONDS), (signal.SIGKILL, _KILL_SECONDS)):
        try:
            os.kill(running.pid, number)
        except ProcessLookupError:
            break
        if _wait(lambda: not _is_locked(state_directory), seconds):
            break
    if _is_locked(state_directory):
        raise StartupError(f"the emulator (process {running.pid}) does not end: look at `python -m emulator logs`.")
    (state_directory / "emulator.json").unlink(missing_ok=True)
    return True


def reset(state_directory: Path) -> None:
    """Stop the emulator and remove all that it keeps. A directory that is not a state directory is not touched.

    Raises:
        StartupError: the directory is not one of an emulator, or cannot be removed.
    """
    stop(state_directory)
    if not state_directory.exists():
        return
    if not (state_directory / "emulator.lock").exists():
        raise StartupError(f"{state_directory} is not the state directory of an emulator: nothing was removed.")
    try:
        shutil.rmtree(state_directory)
    except OSError as error:
        raise StartupError(f"{state_directory} cannot be removed ({error}): remove it by hand.") from error


def log_tail(state_directory: Path, lines: int = 15) -> str:
    path = state_directory / "emulator.log"
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else "(no log)"
