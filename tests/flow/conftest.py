"""Whole runs of the flow, as a user starts them: in a checkout of their own, with the session's emulator."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import PRISTINE, REPOSITORY, RunningEmulator

_PARTS = ("code", "emulator", "flows", "settings", "tasks")


@dataclass(frozen=True)
class FinishedRun:
    """What a user has after a run: exit status, what the terminal showed, and the report."""

    exit_status: int
    terminal: str
    report: dict[str, Any]
    markdown: str


@dataclass
class Checkout:
    """A copy of the repository, and the environment in which its commands run."""

    directory: Path
    environment: dict[str, str]
    last: FinishedRun | None = field(default=None)
    released: int | None = field(default=None)

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", *arguments],
            cwd=self.directory,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=600,  # pytest has a shorter limit for most tests
        )

    def shell(self, line: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", line], cwd=self.directory, env=self.environment, capture_output=True, text=True, timeout=60
        )

    def run(self, *arguments: str) -> FinishedRun:
        """``python -m flows.main``."""
        done = self.command("flows.main", *arguments)
        latest = self.directory / "reports" / "latest"
        report = json.loads((latest / "report.json").read_text()) if latest.exists() else {}
        markdown = (latest / "report.md").read_text() if latest.exists() else ""
        self.last = FinishedRun(done.returncode, done.stdout + done.stderr, report, markdown)
        return self.last


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A Prefect server of the tests' own; the environment that reaches it."""
    home = tmp_path_factory.mktemp("prefect")
    environment = {name: value for name, value in PRISTINE.items() if not name.startswith("PREFECT_")}
    environment["PREFECT_HOME"] = str(home)
    started = subprocess.run(
        [sys.executable, "-m", "flows.prefect_server", "start"],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert started.returncode == 0, started.stderr
    server = json.loads((home / "server.json").read_text())
    yield {"PREFECT_HOME": str(home), "PREFECT_API_URL": server["api_url"]}
    os.killpg(server["pid"], signal.SIGTERM)


@pytest.fixture(scope="module")
def checkout(
    tmp_path_factory: pytest.TempPathFactory, emulator: RunningEmulator, prefect_server: dict[str, str]
) -> Checkout:
    """A checkout with a workspace of its own, which the first run has to create."""
    directory = tmp_path_factory.mktemp("checkout")
    for part in _PARTS:
        shutil.copytree(REPOSITORY / part, directory / part, ignore=shutil.ignore_patterns("__pycache__"))
    foreign = ("PREFECT_", "AZURE", "ARM_", "SUBSCRIPTION_ID", "RESOURCE_GROUP", "WORKSPACE_NAME", "LOCATION")
    environment = {name: value for name, value in PRISTINE.items() if not name.startswith(foreign)}
    environment |= prefect_server
    environment["AZUREML_EMULATOR_STATE_DIR"] = str(emulator.state_directory)
    environment["WORKSPACE_NAME"] = f"ws-{uuid.uuid4().hex[:8]}"
    return Checkout(directory, environment)
