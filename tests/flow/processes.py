"""Waiting for what other processes do, and ending them together with what they have started."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable

import psutil


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, f"in vain: waited until {what}"
        time.sleep(0.5)


def end_worker(process: subprocess.Popen[str]) -> None:
    """End the process group of a worker, and the flows that it was running: those have groups of their own."""
    worker = psutil.Process(process.pid)
    started = [worker, *worker.children(recursive=True)]
    os.killpg(process.pid, signal.SIGTERM)
    _, alive = psutil.wait_procs(started, timeout=20)
    for child in alive:
        child.kill()
    process.communicate()
