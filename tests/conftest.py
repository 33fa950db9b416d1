"""What all tests share: one emulator for the session, in a state directory of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# How long an example takes is the machine's affair: it is shared, and no test judges its speed.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

# The SDK and what it brings use what Python has deprecated, also from threads that outlive the test that started them.
for _module in ("azureml", "applicationinsights", "msrest", "jsonpickle"):
    warnings.filterwarnings("ignore", module=_module)

# Who runs the tests in the background of a shell has them ignore Ctrl-C, and what they start would ignore it, too.
signal.signal(signal.SIGINT, signal.default_int_handler)

PRISTINE = dict(os.environ)
"""The environment before tests in this process have pointed the SDK at an emulator."""

REPOSITORY = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class RunningEmulator:
    """An emulator that answers, and how to reach it."""

    url: str
    scoring_url: str
    state_directory: Path
    environment: dict[str, str]


def emulator_command(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run ``python -m emulator`` from the repository, as a user does."""
    return subprocess.run(
        [sys.executable, "-m", "emulator", *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
        **options,
    )


def start_emulator(state_directory: Path) -> RunningEmulator:
    started = emulator_command("start", "--state-dir", str(state_directory))
    assert started.returncode == 0, started.stderr
    status = json.loads(emulator_command("status", "--json", "--state-dir", str(state_directory)).stdout)
    environment = json.loads(emulator_command("env", "--json", "--state-dir", str(state_directory)).stdout)
    return RunningEmulator(status["url"], status["scoring_url"], state_directory, environment)


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningEmulator]:
    state_directory = tmp_path_factory.mktemp("emulator") / "state"
    running = start_emulator(state_directory)
    yield running
    emulator_command("stop", "--state-dir", str(state_directory))


@pytest.fixture(scope="session")
def client_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home of its own for SDK clients, which cache what they have seen below ``~/.azureml``."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def client_environment(emulator: RunningEmulator, client_home: Path) -> dict[str, str]:
    """The environment of a script that reaches the session's emulator."""
    quick_and_quiet = {"AZUREML_DEFAULT_RETRIES": "0", "AZUREML_LOG_DEPRECATION_WARNING_ENABLED": "False"}
    return {**os.environ, **emulator.environment, "HOME": str(client_home), **quick_and_quiet}
