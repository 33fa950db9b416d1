"""How fast the emulator is: until it is ready, and per management call.

python -m benchmarks.emulator
"""

from __future__ import annotations

import argparse
import http.client
import json
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
from pathlib import Path

CALLS = 500
STARTS = 5


def _emulator(*arguments: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", "emulator", *arguments], check=True, capture_output=True, text=True
    ).stdout


def _ready_seconds(state_directory: str) -> float:
    started = time.monotonic()
    _emulator("start", "--state-dir", state_directory)
    return time.monotonic() - started


def _call_milliseconds(state_directory: str) -> list[float]:
    """Of GET workspace, one after the other, over one connection."""
    environment = json.loads(_emulator("env", "--json", "--state-dir", state_directory))
    host = environment["AZUREML_EMULATOR_URL"].removeprefix("https://")
    context = ssl.create_default_context(cafile=environment["REQUESTS_CA_BUNDLE"])
    connection = http.client.HTTPSConnection(host, context=context)
    form = {
        "grant_type": "client_credentials",
        "client_id": environment["AZURE_CLIENT_ID"],
        "client_secret": environment["AZURE_CLIENT_SECRET"],
        "resource": environment["AZUREML_EMULATOR_URL"],
    }
    connection.request(
        "POST",
        "/adfs/oauth2/token",
        urllib.parse.urlencode(form),
        {"Content-Type": "application/x-www-form-urlencoded"},
    )
    headers = {"Authorization": f"Bearer {json.load(connection.getresponse())['access_token']}"}
    path = (
        f"/subscriptions/{environment['SUBSCRIPTION_ID']}/resourceGroups/{environment['RESOURCE_GROUP']}"
        f"/providers/Microsoft.MachineLearningServices/workspaces/{environment['WORKSPACE_NAME']}"
    )
    taken = []
    for _ in range(CALLS):
        started = time.perf_counter()
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise SystemExit(f"GET {path} answered {answer.status}")
        taken.append((time.perf_counter() - started) * 1000)
    return taken


def main() -> None:
    argparse.ArgumentParser(prog="python -m benchmarks.emulator", description="Time the emulator.").parse_args()
    ready = []
    with tempfile.TemporaryDirectory() as directory:
        for number in range(STARTS):
            state_directory = str(Path(directory, str(number)))
            try:
                ready.append(_ready_seconds(state_directory))
                calls = _call_milliseconds(state_directory)
            finally:
                _emulator("stop", "--state-dir", state_directory)
    print("| what | median | largest |\n|---|---|---|")
    print(f"| ready, fresh state, seconds | {statistics.median(ready):.2f} | {max(ready):.2f} |")
    print(f"| GET workspace, milliseconds | {statistics.median(calls):.2f} | {max(calls):.2f} |")


if __name__ == "__main__":
    main()
