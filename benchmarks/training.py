"""How long a run of a script that does nothing takes, and how long it takes to submit one.

python -m benchmarks.training
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RUNS = 7
POLL_SECONDS = 0.2

# In a process of its own: the SDK reads where the cloud is when it is first imported.
_CLIENT = "--client"


def _measure(source: Path) -> dict[str, list[float]]:
    """Seconds of each submission, and of each run from before its submission to its end."""
    from azureml.core import Environment, Experiment, ScriptRunConfig, Workspace
    from azureml.core.compute import AmlCompute, ComputeTarget

    workspace = Workspace.get(
        os.environ["WORKSPACE_NAME"],
        subscription_id=os.environ["SUBSCRIPTION_ID"],
        resource_group=os.environ["RESOURCE_GROUP"],
    )
    wanted = AmlCompute.provisioning_configuration(vm_size="Standard_D2_v2", max_nodes=1)
    ComputeTarget.create(workspace, "cluster", wanted)
    environment = Environment("here")
    environment.python.user_managed_dependencies = True
    environment.python.interpreter_path = sys.executable
    experiment = Experiment(workspace, "no-op")
    figures: dict[str, list[float]] = {"submit": [], "whole": []}
    for number in range(RUNS + 1):
        configuration = ScriptRunConfig(str(source), "train.py", compute_target="cluster", environment=environment)
        started = time.perf_counter()
        run = experiment.submit(configuration)
        submitted = time.perf_counter()
        while (status := run.get_status()) not in ("Completed", "Failed", "Canceled"):
            time.sleep(POLL_SECONDS)
        ended = time.perf_counter()
        if status != "Completed":
            raise SystemExit(f"run {run.id} has ended as {status}")
        if number > 0:  # the first one uploads the directory, and the SDK imports what it needs
            figures["submit"].append(submitted - started)
            figures["whole"].append(ended - started)
    return figures


def _client(source: Path) -> None:
    noise = io.StringIO()
    with contextlib.redirect_stdout(noise):
        figures = _measure(source)
    print(json.dumps(figures))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description="Time submission and runs.")
    parser.add_argument(_CLIENT, type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client:
        _client(options.client)
        return
    emulator = [sys.executable, "-m", "emulator"]
    with tempfile.TemporaryDirectory() as directory:
        source, state = Path(directory, "source"), f"{directory}/state"
        source.mkdir()
        (source / "train.py").write_text("pass\n")
        try:
            subprocess.run([*emulator, "start", "--state-dir", state], check=True, capture_output=True)
            told = subprocess.run(
                [*emulator, "env", "--json", "--state-dir", state], check=True, capture_output=True, text=True
            )
            environment = {**os.environ, **json.loads(told.stdout), "HOME": directory}
            measured = subprocess.run(
                [sys.executable, "-W", "ignore", "-m", "benchmarks.training", _CLIENT, str(source)],
                env=environment,
                check=True,
                stdout=subprocess.PIPE,
                text=True,
            )
        finally:
            subprocess.run([*emulator, "stop", "--state-dir", state], check=True, capture_output=True)
    figures = json.loads(measured.stdout.splitlines()[-1])
    print("| what | median | largest |\n|---|---|---|")
    for title, seconds in (
        ("submitting an unchanged directory, seconds", figures["submit"]),
        ("a no-op script from submission to Completed, seconds", figures["whole"]),
    ):
        print(f"| {title} | {statistics.median(seconds):.2f} | {max(seconds):.2f} |")


if __name__ == "__main__":
    main()
