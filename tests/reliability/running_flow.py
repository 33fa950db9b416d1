"""A flow that runs while a test watches it, and ends it in the midst of what it does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from typing import Any

from tests.conftest import REPOSITORY, RunningEmulator
from tests.flow.conftest import Checkout, FinishedRun

_SECONDS = 300

# A stream of requests, the flow and the models share this machine: speed is what other tests are about.
UNHURRIED = tuple(
    f"deployment.test_deployment.objectives.{name}=null"
    for name in ("latency_p95_ms", "max_error_rate", "min_requests_per_second")
)


@dataclass(frozen=True)
class Contents:
    """What a workspace holds."""

    runs: dict[str, str]
    """Status by id."""
    stages: dict[str, str]
    """Of the model's versions."""
    services: dict[str, str]
    """State by name."""
    served: dict[str, list[str]]
    """Ids of the models by the service's name."""


class RunningFlow:
    """``python -m flows.main --verbose`` in a process group of its own, read line by line."""

    def __init__(self, checkout: Checkout, *overrides: str) -> None:
        self._checkout = checkout
        self.seen: list[tuple[float, str]] = []
        self._ended = False
        self._news = threading.Condition()
        options = [word for override in (*UNHURRIED, *overrides) for word in ("--set", override)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "flows.main", "--verbose", *options],
            cwd=checkout.directory,
            env={**checkout.environment, "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._news:
                self.seen.append((time.monotonic(), " ".join(line.split())))
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    @property
    def terminal(self) -> str:
        return "\n".join(line for _, line in self.seen)

    def moment_of(self, beginning: str) -> float | None:
        """When the first line that begins so was shown, by time.monotonic()."""
        return next((moment for moment, line in self.seen if line.startswith(beginning)), None)

    def wait_for(self, beginning: str) -> None:
        with self._news:
            shown = self._news.wait_for(lambda: self._ended or self.moment_of(beginning) is not None, _SECONDS)
        if not shown:
            self.kill()
        assert shown, f"in vain: waited for {beginning!r} after {self.terminal}"
        assert self.moment_of(beginning) is not None, f"ended without {beginning!r}: {self.terminal}"

    def kill(self) -> None:
        """SIGKILL, for all that the flow has started as well."""
        os.killpg(self.process.pid, signal.SIGKILL)
        assert self.process.wait(timeout=30) == -signal.SIGKILL, self.terminal
        self._reader.join()

    def interrupt(self) -> FinishedRun:
        """Ctrl-C."""
        os.killpg(self.process.pid, signal.SIGINT)
        return self.finish()

    def finish(self) -> FinishedRun:
        with self._news:
            ended = self._news.wait_for(lambda: self._ended, _SECONDS)
        if not ended:
            self.kill()
        assert ended, f"does not end: {self.terminal}"
        status = self.process.wait()
        latest = self._checkout.directory / "reports" / "latest"
        return FinishedRun(
            status, self.terminal, json.loads((latest / "report.json").read_text()), (latest / "report.md").read_text()
        )


def contents(checkout: Checkout, emulator: RunningEmulator) -> Contents:
    """What the checkout's workspace holds now, by the SDK."""
    printed = subprocess.run(
        [sys.executable, "-m", "tests.reliability.workspace_contents", checkout.environment["WORKSPACE_NAME"]],
        cwd=REPOSITORY,
        env={**os.environ, **emulator.environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert printed.returncode == 0, printed.stderr
    found: dict[str, Any] = json.loads(printed.stdout.strip().splitlines()[-1])
    return Contents(**found)


def slow_down_training(checkout: Checkout) -> None:
    """Let the training script wait for as long as ``training_takes`` says, so that there is time to disturb it."""
    script = checkout.directory / "code" / "training" / "train.py"
    before, line = script.read_text(), "    arguments = parse_arguments()\n"
    assert line in before
    pause = '    __import__("time").sleep(float(os.environ.get("SECONDS_BEFORE_TRAINING", 0)))\n'
    script.write_text(before.replace(line, pause + line))


def training_takes(seconds: int) -> str:
    """The override that does so."""
    return f'experiment.environment_variables.SECONDS_BEFORE_TRAINING="{seconds}"'
