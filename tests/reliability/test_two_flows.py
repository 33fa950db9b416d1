"""Two flows on one workspace at once: they train side by side, and release one after the other."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import requests

from tests.flow.conftest import Checkout
from tests.reliability.interrupted import Moment, doing, leftovers

if TYPE_CHECKING:
    from azureml.core import Workspace

pytestmark = [pytest.mark.reliability, pytest.mark.timeout(600)]


def run(checkout: Checkout, alpha: float, both_train: threading.Barrier, go: Any) -> tuple[int, str]:
    """A run whose training ends when the other one's goes on, too."""
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.main", "--verbose", "--set", f"experiment.script_parameters.--alpha={alpha}"],
        cwd=checkout.directory,
        env={**checkout.environment, "PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )
    assert process.stdout is not None
    shown = []
    for line in process.stdout:
        shown.append(line)
        if re.search(doing("training", "Running"), line):
            both_train.wait(timeout=240)
            go.touch()
    return process.wait(), "".join(shown)


def released(api: str, terminal: str) -> tuple[str, str]:
    """When Prefect saw the run's part that changes production begin and end."""
    found = re.search(r"/flow-run/([0-9a-f-]{36})", terminal)
    assert found is not None, terminal
    body = {"flow_runs": {"id": {"any_": [found[1]]}}}
    tasks = requests.post(f"{api}/task_runs/filter", json=body, timeout=30).json()
    begin = next(task["start_time"] for task in tasks if task["name"] == "settle production")
    return begin, max(task["end_time"] for task in tasks if task["end_time"])


def test_the_later_one_is_compared_with_what_the_earlier_one_released(checkout: Checkout, workspace: Workspace) -> None:
    go, script = checkout.directory / "go", checkout.directory / "code/training/train.py"
    waiting = f"import pathlib, time\nwhile not pathlib.Path({str(go)!r}).exists():\n    time.sleep(0.1)\n"
    script.write_text(script.read_text().replace("import argparse\n", f"import argparse\n{waiting}"))

    both_train = threading.Barrier(2)
    with ThreadPoolExecutor() as pool:
        better, worse = [pool.submit(run, checkout, alpha, both_train, go) for alpha in (0.2, 0.3)]

    (status, terminal), (worse_status, worse_terminal) = better.result(), worse.result()
    assert (status, worse_status) == (0, 0), terminal + worse_terminal
    assert re.search("^Promoted: ", terminal, re.MULTILINE), terminal
    api = checkout.environment["PREFECT_API_URL"]
    first, second = sorted([released(api, terminal), released(api, worse_terminal)])
    assert first[1] <= second[0]
    worse_came_first = first == released(api, worse_terminal)
    outcome = "Promoted" if worse_came_first else "NotPromoted"
    assert re.search(f"^{outcome}: ", worse_terminal, re.MULTILINE), worse_terminal
    version = 3 if worse_came_first else 2
    assert leftovers(workspace).services == {"diabetes-prod": {version}}


def test_cancelling_one_of_two_that_wait_for_the_same_training_is_no_harm_to_the_other(
    checkout: Checkout, workspace: Workspace, moment: Moment
) -> None:
    alpha = ("--set", "experiment.script_parameters.--alpha=0.19")
    before, gone_on = leftovers(workspace), checkout.directory / "go on"
    script = checkout.directory / "code/training/train.py"
    waiting = f"import pathlib, time\nwhile not pathlib.Path({str(gone_on)!r}).exists():\n    time.sleep(0.1)\n"
    script.write_text(script.read_text().replace("import argparse\n", f"import argparse\n{waiting}"))

    with moment.reached(doing("training", "Running"), *alpha) as earlier:
        with moment.reached(doing("training", "Running"), *alpha) as later:
            os.killpg(later.pid, signal.SIGINT)
            shown, _ = later.communicate(timeout=120)
        assert "The run was interrupted." in shown
        gone_on.touch()
        terminal, _ = earlier.communicate(timeout=240)

    assert earlier.returncode == 0, terminal
    assert "which waited for it, too" in terminal
    assert re.search("^Promoted: ", terminal, re.MULTILINE), terminal
    own = [status for run, status in leftovers(workspace).runs.items() if run not in before.runs]
    assert sorted(own) == ["Canceled", "Completed"]
