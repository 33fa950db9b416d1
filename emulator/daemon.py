"""Start, find and stop the emulator as a process in the background.

Two locks, which the kernel gives back however their holders end: the emulator holds ``emulator.lock`` while it lives,
so that a stale ``emulator.json`` is never taken for a running one; a command that starts, stops or resets holds
``command.lock``, so that two at once become one after the other.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from emulator.errors import StartupError
from emulator.state import write_atomically

_START_SECONDS = 60.0
_STOP_SECONDS = 20.0
_KILL_SECONDS = 5.0
_PROBE_SECONDS = 1.0  # whoever only looks whether the emulator lives holds its lock for microseconds


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


def _open_lock(state_directory: Path, name: str) -> int:
    """The descriptor of a lock file of the state directory, which is made when it is not there.

    Raises:
        StartupError: the directory cannot be written, or is somebody else's.
    """
    try:
        state_directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not (state_directory / "emulator.lock").exists() and any(state_directory.iterdir()):
            # `reset` removes the whole directory: it must never have been anything else.
            raise StartupError(
                f"{state_directory} has files in it and is not the state directory of an emulator: "
                "choose an empty or a new directory with --state-dir."
            )
        (state_directory / "emulator.lock").touch(mode=0o600)
        return os.open(state_directory / name, os.O_RDONLY | os.O_CREAT, 0o600)
    except OSError as error:
        raise StartupError(
            f"the state directory {state_directory} cannot be written ({error.strerror}): "
            "choose another with --state-dir, or make it writable."
        ) from error


def _acquire(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def become_the_emulator(state_directory: Path) -> None:
    """Take the lock that the one emulator of a state directory holds until its process is gone.

    Raises:
        StartupError: another has it; or the state directory cannot be written, or is somebody else's.
    """
    descriptor = _open_lock(state_directory, "emulator.lock")  # never closed: whoever waits for us waits for the kernel
    if not _wait(lambda: _acquire(descriptor, fcntl.LOCK_EX), _PROBE_SECONDS):
        raise StartupError(f"an emulator runs already with state directory {state_directory}.")
    forget(state_directory)


@contextmanager
def _one_command_at_a_time(state_directory: Path) -> Iterator[None]:
    descriptor = _open_lock(state_directory, "command.lock")
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _is_locked(state_directory: Path) -> bool:
    try:
        with (state_directory / "emulator.lock").open() as lock:
            # Shared: two who look at the same time must not take each other for the emulator.
            return not _acquire(lock.fileno(), fcntl.LOCK_SH)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise StartupError(
            f"the state directory {state_directory} cannot be read ({error.strerror}): "
            "choose another with --state-dir, or make it readable."
        ) from error


def find(state_directory: Path) -> Running | None:
    """The emulator that runs over this state directory and is ready, if there is one.

    Raises:
        StartupError: the directory cannot be read.
    """
    if not _is_locked(state_directory):
        return None
    try:
        return Running(**json.loads((state_directory / "emulator.json").read_text()))
    except FileNotFoundError:
        return None


def announce(running: Running) -> None:
    """Write down that the emulator is ready; only by whoever holds its lock."""
    write_atomically(Path(running.state_directory) / "emulator.json", json.dumps(asdict(running), indent=2))


def forget(state_directory: Path) -> None:
    """Remove what an emulator that has ended said of itself: its process id may be another program's by now."""
    (state_directory / "emulator.json").unlink(missing_ok=True)


def start(state_directory: Path, port: int | None) -> tuple[Running, bool]:
    """Start the emulator and wait until it answers, or find the one that runs already.

    Returns:
        the emulator, and whether this call started it.

    Raises:
        StartupError: it cannot start; says why.
    """
    with _one_command_at_a_time(state_directory):
        running = _settle(state_directory)
        if running is None:
            return _launch(state_directory, port), True
    if port is not None and running.url.rpartition(":")[2] != str(port):
        raise StartupError(
            f"an emulator runs already with state directory {state_directory}, on {running.url} and not on port "
            f"{port}: stop it first with `python -m emulator stop`, or leave --port out."
        )
    return running, False


def _settle(state_directory: Path) -> Running | None:
    """The emulator that runs, after waiting for one that is just starting (in the foreground) or ending."""
    _wait(lambda: not _is_locked(state_directory) or find(state_directory) is not None, _START_SECONDS)
    return find(state_directory)


def _launch(state_directory: Path, port: int | None) -> Running:
    forget(state_directory)
    failure = state_directory / "failure.txt"
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
        _wait(lambda: find(state_directory) is not None or process.poll() is not None, _START_SECONDS)
        running = find(state_directory)
        if running is not None:
            return running
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
    if not (state_directory / "emulator.lock").exists():
        return False
    with _one_command_at_a_time(state_directory):
        return _stop(state_directory)


def _stop(state_directory: Path) -> bool:
    running = _settle(state_directory)
    if running is None:
        return False
    for number, seconds in ((signal.SIGTERM, _STOP_SECONDS), (signal.SIGKILL, _KILL_SECONDS)):
        try:
            os.kill(running.pid, number)
        except ProcessLookupError:
            break
        except PermissionError as error:
            raise StartupError(
                f"the emulator (process {running.pid}) belongs to another user: stop it as that user."
            ) from error
        if _wait(lambda: not _is_locked(state_directory), seconds):
            break
    if _is_locked(state_directory):
        raise StartupError(f"the emulator (process {running.pid}) does not end: look at `python -m emulator logs`.")
    return True


def reset(state_directory: Path) -> None:
    """Stop the emulator and remove all that it keeps. A directory that is not a state directory is not touched.

    Raises:
        StartupError: the directory is not one of an emulator, or cannot be removed.
    """
    if not state_directory.exists():
        return
    if not (state_directory / "emulator.lock").exists():
        raise StartupError(f"{state_directory} is not the state directory of an emulator: nothing was removed.")
    with _one_command_at_a_time(state_directory):
        _stop(state_directory)
        try:
            shutil.rmtree(state_directory)
        except OSError as error:
            raise StartupError(f"{state_directory} cannot be removed ({error}): remove it by hand.") from error


def log_tail(state_directory: Path, lines: int = 15) -> str:
    path = state_directory / "emulator.log"
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else "(no log)"
