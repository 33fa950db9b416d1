"""A run that is cancelled, interrupted or killed leaves no training that goes on, and no service but production's."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import psutil
import pytest
import requests

from tests.conftest import REPOSITORY
from tests.flow.conftest import Checkout
from tests.flow.processes import end_worker, wait_until
from tests.reliability.interrupted import Moment, doing, leftovers

if TYPE_CHECKING:
    from azureml.core import Workspace

pytestmark = [pytest.mark.reliability, pytest.mark.timeout(600)]

TRAINING = ("experiment.script_parameters.--alpha=0.3", 'experiment.environment_variables.SLOW="1"')

LONG_LOAD = (
    "experiment.script_parameters.--alpha=0.44",
    "deployment.test_deployment.load.requests=1000000",
    "deployment.test_deployment.load.seconds=300",
)


@pytest.fixture(scope="module")
def worker(checkout: Checkout, workspace: Workspace) -> Iterator[psutil.Process]:
    """A worker that carries out what is deployed from the checkout, in which training takes its time from now on."""
    shutil.copy(REPOSITORY / "prefect.yaml", checkout.directory)
    deployed = checkout.command("flows.deployments", "deploy")
    assert deployed.returncode == 0, deployed.stdout + deployed.stderr
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.deployments", "worker"],
        cwd=checkout.directory,
        env={**checkout.environment, "PREFECT_WORKER_QUERY_SECONDS": "1"},
        stdout=subprocess.DEVNULL,
        start_new_session=True,
        text=True,
    )
    try:
        yield psutil.Process(process.pid)
    finally:
        end_worker(process)


@pytest.fixture(scope="module", autouse=True)
def slow_training(checkout: Checkout, workspace: Workspace) -> None:
    """Training that would last for minutes, when a variable says so."""
    script = checkout.directory / "code/training/train.py"
    slow = "import argparse, os, time\nif os.environ.get('SLOW'):\n    time.sleep(300)\n"
    script.write_text(script.read_text().replace("import argparse\n", slow))


def api(checkout: Checkout, path: str, body: dict[str, Any] | None = None) -> Any:
    url = checkout.environment["PREFECT_API_URL"] + path
    answer = requests.get(url, timeout=30) if body is None else requests.post(url, json=body, timeout=30)
    answer.raise_for_status()
    return answer.json()


def started_by_the_worker(checkout: Checkout, step: str, *overrides: str) -> str:
    """The id of a flow run of the worker's that is in the middle of a step."""
    parameters = json.dumps({"options": {"overrides": overrides}})
    started = checkout.command("prefect", "deployment", "run", "train-and-promote/debug", "--params", parameters)
    found = re.search(r"UUID: ([0-9a-f-]{36})", started.stdout)
    assert found is not None, started.stdout + started.stderr

    def in_it() -> bool:
        run = api(checkout, f"/flow_runs/{found[1]}")
        assert run["state_type"] in ("SCHEDULED", "PENDING", "RUNNING"), run["state"]
        tasks = api(checkout, "/task_runs/filter", {"flow_runs": {"id": {"any_": [found[1]]}}})
        return (step, "RUNNING") in {(task["name"], task["state_type"]) for task in tasks}

    wait_until(in_it, f"{step} goes on")
    return found[1]


def options(overrides: Iterable[str]) -> tuple[str, ...]:
    return tuple(word for override in overrides for word in ("--set", override))


def nothing_is_left(workspace: Workspace) -> Callable[[], bool]:
    def asked() -> bool:
        left = leftovers(workspace)
        over = all(status in ("Completed", "Canceled", "Failed") for status in left.runs.values())
        return over and left.services == {"diabetes-prod": {1}}

    return asked


@pytest.mark.parametrize(
    ("line", "overrides", "canceled"),
    [
        (doing("training", "Running"), TRAINING, 1),
        (doing("deploy to test", "waiting until healthy"), ("experiment.script_parameters.--alpha=0.45",), 0),
    ],
    ids=["training", "deploy to test"],
)
def test_ctrl_c(moment: Moment, workspace: Workspace, line: str, overrides: tuple[str, ...], canceled: int) -> None:
    before = leftovers(workspace)
    with moment.reached(line, *options(overrides)) as process:
        os.killpg(process.pid, signal.SIGINT)
        shown, _ = process.communicate(timeout=120)

    assert process.returncode != 0
    assert "The run was interrupted." in shown
    wait_until(nothing_is_left(workspace), "all is as before")
    ended = [status for run, status in leftovers(workspace).runs.items() if run not in before.runs]
    assert ended.count("Canceled") == canceled
    moment.give_up_turn()


@pytest.mark.parametrize(
    ("step", "overrides", "canceled"),
    [("training", TRAINING, 1), ("load test", LONG_LOAD, 0)],
)
def test_cancelled_in_prefect(
    checkout: Checkout, workspace: Workspace, worker: object, step: str, overrides: tuple[str, ...], canceled: int
) -> None:
    before = leftovers(workspace)
    flow_run = started_by_the_worker(checkout, step, *overrides)

    cancelled = checkout.command("prefect", "flow-run", "cancel", flow_run)

    assert cancelled.returncode == 0, cancelled.stdout + cancelled.stderr
    wait_until(lambda: api(checkout, f"/flow_runs/{flow_run}")["state_type"] == "CANCELLED", f"{flow_run} is cancelled")
    wait_until(nothing_is_left(workspace), "all is as before")
    ended = [status for run, status in leftovers(workspace).runs.items() if run not in before.runs]
    assert ended.count("Canceled") == canceled
    Moment(checkout).give_up_turn()


def test_killed_under_a_worker(checkout: Checkout, workspace: Workspace, worker: psutil.Process) -> None:
    flow_run = started_by_the_worker(checkout, "training", *TRAINING)

    for process in worker.children(recursive=True):
        process.kill()

    wait_until(lambda: api(checkout, f"/flow_runs/{flow_run}")["state_type"] == "CRASHED", f"{flow_run} has crashed")
    wait_until(nothing_is_left(workspace), "all is as before")


def versions(workspace: Workspace) -> dict[str, int]:
    """The versions of the production endpoint, with their shares of the traffic."""
    from azureml.core import Webservice

    return {
        name: version.traffic_percentile for name, version in Webservice(workspace, "diabetes-canary").versions.items()
    }


def test_a_canary_release_that_is_killed_under_a_worker_leaves_the_former_version(
    checkout: Checkout, workspace: Workspace, worker: psutil.Process
) -> None:
    canary = (
        "deployment.prod_deployment.name=diabetes-canary",
        "deployment.prod_deployment.strategy=canary",
        "deployment.prod_deployment.canary.requests_per_second=0.5",
    )
    better = "experiment.script_parameters.--alpha=0.45"
    first = checkout.run(*options((*canary, better)))
    assert first.report["outcome"] == "Promoted", first.terminal
    before = versions(workspace)
    started_by_the_worker(checkout, "canary 10 %", *canary, "experiment.script_parameters.--alpha=0.4")
    assert len(versions(workspace)) == 2

    for process in worker.children(recursive=True):
        process.kill()

    wait_until(lambda: versions(workspace) == before, "production is as before")
