"""Which failures of an Azure operation are tried again, in a real flow on a real Prefect server."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.conftest import PRISTINE, REPOSITORY

pytestmark = pytest.mark.flow

SCRIPT = """
import json, sys
from prefect import flow
from tasks.operation import azure_operation

calls = {}

class HttpError(Exception):
    def __init__(self, status_code):
        super().__init__(f"HTTP {status_code}")
        self.status_code = status_code

@azure_operation("operation")
def operation(status):
    calls[status] = calls.get(status, 0) + 1
    if calls[status] < 3:
        raise HttpError(int(status))

@azure_operation("slow operation")
def slow():
    import time
    calls["slow"] = calls.get("slow", 0) + 1
    time.sleep(30)

@flow
def probe():
    for status in ("429", "503", "400", "401", "403", "409"):
        operation.with_options(retry_delay_seconds=0)(status, return_state=True)
    slow.with_options(timeout_seconds=0.5)(return_state=True)
    return "done"

probe()
print(json.dumps(calls))
"""


def test_only_transient_errors_are_tried_again_and_a_timeout_is_not(prefect_server: dict[str, str]) -> None:
    environment = {**PRISTINE, **prefect_server, "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL"}

    probe = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=120
    )

    assert probe.returncode == 0, probe.stderr
    assert json.loads(probe.stdout.splitlines()[-1]) == {
        "429": 3,
        "503": 3,
        "400": 1,
        "401": 1,
        "403": 1,
        "409": 1,
        "slow": 1,
    }
