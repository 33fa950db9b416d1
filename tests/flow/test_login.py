"""A login to Azure lasts an hour or so, and training may last longer: it is renewed while the flow waits."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, emulator_command, start_emulator

pytestmark = pytest.mark.flow

# Waits as the flow does, asking Azure each time, until the first token has expired; then uses that one once more.
WAITING = """
import time
import jwt
import requests
from settings import load
from settings.workspace import resolve_workspace
from tasks.resource_manager import ResourceManager
from tasks.waiting import poll
from tasks.workspace import open_workspace

target = resolve_workspace(load(None, []).workspace, {})
workspace = open_workspace(target)
manager = ResourceManager(target)
first = manager.token()
expires = jwt.decode(first, options={"verify_signature": False})["exp"]

def ask():
    workspace.models, workspace.compute_targets
    return time.time()

poll(ask, lambda now: now > expires + 1, what="wait", minutes=1)
url = manager._authentication._get_arm_end_point().rstrip("/") + "/subscriptions"
old = requests.get(url, params={"api-version": "2020-01-01"}, headers={"Authorization": f"Bearer {first}"})
print("answered; the first token is now worth HTTP", old.status_code)
"""


def test_an_expired_login_is_renewed_in_a_long_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZUREML_EMULATOR_TOKEN_SECONDS", "3")
    emulator = start_emulator(tmp_path / "state")
    try:
        waited = subprocess.run(
            [sys.executable, "-c", WAITING],
            cwd=REPOSITORY,
            env={**emulator.environment, "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            timeout=120,
        )
    finally:
        emulator_command("stop", "--state-dir", str(tmp_path / "state"))

    assert waited.stdout.strip() == "answered; the first token is now worth HTTP 401", waited.stderr
