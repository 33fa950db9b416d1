"""Runs of the flow that are ended before they have come to their end, and what they leave in the workspace."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prefect.client.orchestration import SyncPrefectClient

from tasks.evaluation import served_models
from tests.flow.conftest import Checkout

if TYPE_CHECKING:
    from azureml.core import Workspace


@dataclass(frozen=True)
class Leftovers:
    """What is in a workspace: ids of training runs, stages of model versions, services with the models they serve."""

    runs: dict[str, str]
    models: dict[int, str]
    services: dict[str, set[int]]


@dataclass
class Moment:
    """Starts the flow, and lets it be ended at a moment that its output tells."""

    checkout: Checkout
    arguments: tuple[str, ...] = ()

    @contextmanager
    def reached(self, line: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """The flow in a process group of its own, which has just printed a line that matches the expression."""
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.main", "--verbose", *self.arguments, *arguments],
            cwd=self.checkout.directory,
            env={**self.checkout.environment, "PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            start_new_session=True,
        )
        hanging = threading.Timer(240, os.killpg, (process.pid, signal.SIGKILL))
        hanging.start()
        assert process.stdout is not None
        shown = []
        try:
            for printed in process.stdout:
                shown.append(printed)
                if re.search(line, printed):
                    break
            else:
                raise AssertionError(f"never printed: {line}\n{''.join(shown)}")
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            hanging.cancel()

    def kill(self, line: str, *arguments: str) -> None:
        """End the flow and all that it has started at once, as a machine does that goes away."""
        with self.reached(line, *arguments) as process:
            os.killpg(process.pid, signal.SIGKILL)

    def give_up_turn(self) -> None:
        """Take the turn to release away from who held it last: stands for the minute until its lease has ended."""
        # Prefect's client asks again when the server is busy, and says so with a 503.
        with SyncPrefectClient(self.checkout.environment["PREFECT_API_URL"]) as client:
            for limit in client.read_global_concurrency_limits(limit=200):
                if limit.name.endswith(self.checkout.environment["WORKSPACE_NAME"]):
                    client.delete_global_concurrency_limit_by_name(limit.name)


def step(name: str) -> str:
    """The line with which a step starts."""
    return rf"^… {name}\s+started"


def doing(name: str, what: str) -> str:
    """The line with which a step says what it does."""
    return rf"^… {name}\s+{what}"


def done(name: str) -> str:
    """The line with which a step ends."""
    return rf"^✓ {name}\s"


def open_workspace(name: str) -> Workspace:
    """A workspace of the session's emulator."""
    from azureml.core import Workspace

    return Workspace.get(
        name, subscription_id=os.environ["SUBSCRIPTION_ID"], resource_group=os.environ["RESOURCE_GROUP"]
    )


def leftovers(workspace: Workspace) -> Leftovers:
    """What is in the workspace now."""
    from azureml.core import Experiment, Model, Webservice

    runs = {run.id: run.get_status() for each in Experiment.list(workspace) for run in each.get_runs()}
    return Leftovers(
        runs=runs,
        models={model.version: model.tags["stage"] for model in Model.list(workspace)},
        services={
            service.name: {model.version for model in served_models(service)} for service in Webservice.list(workspace)
        },
    )
