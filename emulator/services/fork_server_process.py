"""Runs in a scoring environment: imports once what its replicas import, and forks each replica from itself.

Standard library only, and never imported: the emulator starts it with the environment's own interpreter.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1
_IDLE_SECONDS = 600
_MOST_BYTES = 1 << 20


def _import_all(modules: Path) -> None:
    for module in json.loads(modules.read_text()):
        # One that cannot be imported by itself is imported by the replica, in its own way.
        with contextlib.suppress(Exception):
            importlib.import_module(module)


def _become_replica(request: dict[str, Any], listener: int, parent: int) -> None:
    os.setpgid(0, 0)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(1)
    output = os.open(request["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["directory"])
    sys.path[0] = request["directory"]  # as `python -m gunicorn` has it
    # gunicorn's own default is the directory in which it was imported.
    sys.argv = ["gunicorn", "--chdir", request["directory"], "--bind", f"fd://{listener}", *request["arguments"]]
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()  # Python's own generator does so by itself
    sys.exit(importlib.import_module("gunicorn.app.wsgiapp").run(prog="gunicorn"))


def _fork(control: socket.socket, inherited: tuple[int, ...]) -> bool:
    """Starts the replica that is asked for; says whether there is anybody who asks."""
    message, descriptors, _, _ = socket.recv_fds(control, _MOST_BYTES, 1)
    if not message:
        return False
    parent, listener = os.getpid(), descriptors[0]
    pid = os.fork()
    if pid == 0:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for descriptor in (control.detach(), *inherited):
            os.close(descriptor)
        _become_replica(json.loads(message), listener, parent)
    with contextlib.suppress(OSError):  # whoever of the two comes second finds it done
        os.setpgid(pid, pid)
    os.close(listener)
    control.send(json.dumps({"started": pid}).encode())
    return True


def _reap(control: socket.socket) -> int:
    """Tells which replicas have ended; returns how many."""
    count = 0
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            count += 1
            control.send(json.dumps({"ended": pid, "code": os.waitstatus_to_exitcode(status)}).encode())
    return count


def main(descriptor: int, modules: Path) -> str | int:
    """
    Args:
        descriptor: of the socket to the emulator.
        modules: names of modules to import.
    """
    sys.path[0] = ""  # the emulator's own modules are none of the replicas' business
    control = socket.socket(fileno=descriptor)
    _import_all(modules)
    if threading.active_count() > 1:
        return "a module starts threads when it is imported, and a fork would be without them"
    gc.freeze()
    read, write = os.pipe()
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    control.send(b"{}")
    children = 0
    while True:
        ready, _, _ = select.select([control, read], [], [], _IDLE_SECONDS)
        if not ready and not children:
            return 0
        if read in ready:
            os.read(read, 4096)
            children -= _reap(control)
        if control in ready:
            if not _fork(control, (read, write)):
                return 0
            children += 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), Path(sys.argv[2])))
