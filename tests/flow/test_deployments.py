"""docs/prefect.md, followed from its beginning to its end: every command that it shows is typed here."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.conftest import REPOSITORY
from tests.flow.conftest import Checkout
from tests.flow.processes import end_worker, wait_until

pytestmark = pytest.mark.flow

PAGE = REPOSITORY / "docs" / "prefect.md"
COMMANDS = "".join(re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)).splitlines()
OWN_PORT = "PREFECT_API_URL=http://127.0.0.1:4200/api"  # the tests' server has another one


@dataclass
class Shell:
    """Types the commands of the page in a clone, and remembers which."""

    clone: Checkout
    api_url: str
    typed: set[str]

    def start(self, command: str, **placeholders: str) -> subprocess.Popen[str]:
        """Start a command of the page; placeholders such as FLOW_RUN_ID get their values."""
        assert command in COMMANDS, f"{PAGE.name} does not say: {command}"
        self.typed.add(command)
        return self.start_variation(command, **placeholders)

    def start_variation(self, command: str, **placeholders: str) -> subprocess.Popen[str]:
        """Start a command that stands so in no page."""
        for name, value in placeholders.items():
            command = command.replace(name, value)
        return subprocess.Popen(
            ["bash", "-c", f'export PATH="$PWD/.venv/bin:$PATH"; {command}'],
            cwd=self.clone.directory,
            env=self.clone.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def type(self, command: str, **placeholders: str) -> tuple[int, str]:
        return finish(self.start(command, **placeholders))

    def type_variation(self, command: str) -> tuple[int, str]:
        return finish(self.start_variation(command))

    def api(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """What Prefect's REST API answers; POST with a body, GET without."""
        url = self.api_url + path
        answer = requests.get(url, timeout=30) if body is None else requests.post(url, json=body, timeout=30)
        answer.raise_for_status()
        return answer.json()

    def forget_deployments(self) -> None:
        """Remove what other tests have deployed to the session's server."""
        paths = [f"/deployments/{deployment['id']}" for deployment in self.api("/deployments/filter", {})]
        for path in [*paths, "/work_pools/local-process"]:
            assert requests.delete(self.api_url + path, timeout=30).status_code in (204, 404)

    def deployment(self, name: str) -> Any:
        return self.api(f"/deployments/name/train-and-promote/{name}")

    def runs(self, name: str) -> list[dict[str, Any]]:
        deployed = {"any_": [self.deployment(name)["id"]]}
        found: list[dict[str, Any]] = self.api("/flow_runs/filter", {"flow_runs": {"deployment_id": deployed}})
        return found


def finish(started: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit status, and all that the terminal showed, on one line as Prefect's tables break it anywhere."""
    output, _ = started.communicate(timeout=240)
    return started.returncode, " ".join(output.split())


@pytest.fixture(scope="module")
def shell(checkout: Checkout, prefect_server: dict[str, str]) -> Shell:
    """A clone of the repository, with one commit and the virtual environment of the tests."""
    for file in ("prefect.yaml", "Makefile", "requirements.txt"):
        shutil.copy(REPOSITORY / file, checkout.directory)
    os.utime(checkout.directory / "requirements.txt", (0, 0))  # older than the environment: nothing to set up
    (checkout.directory / ".gitignore").write_text(".venv\n__pycache__/\n")
    venv = checkout.directory / ".venv"
    venv.mkdir()
    for part in Path(sys.prefix).iterdir():  # not the whole: make must never clear the one that the tests run in
        if part.name != "ready":
            (venv / part.name).symlink_to(part)
    (venv / "ready").touch()
    identity = {
        f"GIT_{role}_{what}": "test@example.org" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    checkout.environment |= identity | {"PREFECT_WORKER_QUERY_SECONDS": "1", "COLUMNS": "200"}
    committed = checkout.shell("git init --quiet && git add --all && git commit --quiet --message 'First'")
    assert committed.returncode == 0, committed.stderr
    return Shell(checkout, prefect_server["PREFECT_API_URL"], set())


@pytest.fixture(scope="module")
def deployed(shell: Shell) -> str:
    """What the terminal showed when all was deployed; the work pool was there already, described by its team."""
    shell.forget_deployments()
    shell.api("/work_pools/", {"name": "local-process", "type": "process", "description": "of the risk team"})
    status, terminal = shell.type("make deploy")
    assert status == 0, terminal
    return terminal


@pytest.fixture(scope="module")
def worker(shell: Shell, deployed: str) -> Iterator[None]:
    process = shell.start("make worker")

    def online() -> bool:
        assert process.poll() is None, finish(process)
        workers = shell.api("/work_pools/local-process/workers/filter", {})
        return [each["status"] for each in workers] == ["ONLINE"]

    try:
        wait_until(online, "the worker is online")
        yield
    finally:
        end_worker(process)


@pytest.fixture(scope="module")
def promoting(shell: Shell, worker: None) -> Iterator[subprocess.Popen[str]]:
    """A run that goes on while the tests below look at everything else."""
    process = shell.start("prefect deployment run train-and-promote/debug --watch --watch-timeout 600")
    yield process
    process.kill()
    process.communicate()


def test_deploying_creates_all_deployments_of_this_commit_and_leaves_the_work_pool_as_it_was(
    shell: Shell, deployed: str
) -> None:
    commit = shell.clone.shell("git rev-parse HEAD").stdout.strip()
    for name in ("on-push", "nightly", "debug"):
        deployment = shell.deployment(name)
        assert deployment["version"] == commit
        assert deployment["entrypoint"] == "flows.main:train_and_promote"
        assert deployment["tags"] == ["azureml", name]
        assert deployment["work_pool_name"] == "local-process"
        assert deployment["global_concurrency_limit"]["limit"] == 1
        assert deployment["concurrency_options"]["collision_strategy"] == "ENQUEUE"
        directory = {"directory": str(shell.clone.directory)}
        assert deployment["pull_steps"] == [{"prefect.deployments.steps.set_working_directory": directory}]
    assert shell.deployment("debug")["parameters"]["options"]["verbose"] is True
    assert shell.api("/work_pools/local-process")["description"] == "of the risk team"


def test_the_nightly_schedule_is_there_and_off(shell: Shell, promoting: object) -> None:
    (schedule,) = shell.deployment("nightly")["schedules"]
    assert (schedule["schedule"]["cron"], schedule["schedule"]["timezone"]) == ("0 2 * * *", "Europe/Berlin")
    assert shell.runs("nightly") == []

    status, terminal = shell.type("prefect deployment schedule ls train-and-promote/nightly")

    assert (status, "cron: 0 2 * * * │ False" in terminal) == (0, True), terminal


def test_switched_on_it_gets_its_coming_runs(shell: Shell, promoting: object) -> None:
    (schedule,) = shell.deployment("nightly")["schedules"]
    command = "prefect deployment schedule resume train-and-promote/nightly SCHEDULE_ID"

    status, terminal = shell.type(command, SCHEDULE_ID=schedule["id"])

    assert status == 0, terminal
    wait_until(lambda: bool(shell.runs("nightly")), "the nightly deployment has runs")
    assert {run["state_name"] for run in shell.runs("nightly")} == {"Scheduled"}


def test_a_run_is_started_for_later_and_cancelled(shell: Shell, promoting: object) -> None:
    (later,) = (command for command in COMMANDS if "--start-in" in command)
    status, terminal = shell.type(later)
    assert status == 0, terminal
    (run,) = shell.runs("on-push")
    assert run["parameters"]["options"]["stop_before"] == "registration"

    status, terminal = shell.type("prefect flow-run cancel FLOW_RUN_ID", FLOW_RUN_ID=run["id"])

    assert status == 0, terminal
    wait_until(lambda: shell.runs("on-push")[0]["state_type"] == "CANCELLED", "the run is cancelled")


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (
            'on-push --params \'{"options": {"stop_before": "tea"}}\'',
            "Validation failed for field 'options.stop_before'",
        ),
        ("weekly", "Deployment 'train-and-promote/weekly' not found!"),
        (
            "on-push --param fresh=true",
            "The following parameters were specified but not found on the deployment: 'fresh'",
        ),
    ],
)
def test_what_is_wrong_is_refused_with_a_sentence_and_nothing_is_started(
    shell: Shell, promoting: object, command: str, sentence: str
) -> None:
    before = len(shell.runs("on-push"))

    status, terminal = shell.type_variation(f"prefect deployment run train-and-promote/{command}")

    assert status == 1
    assert sentence in terminal
    assert "Traceback" not in terminal
    assert len(shell.runs("on-push")) == before


def test_a_worker_and_a_deployed_run_take_the_first_model_to_production(
    shell: Shell, promoting: subprocess.Popen[str]
) -> None:
    status, terminal = finish(promoting)

    assert status == 0, terminal
    (run,) = shell.runs("debug")
    assert (run["state_name"], run["state_type"]) == ("Promoted", "COMPLETED")
    assert "Promoted: diabetes-ridge version 1 serves production." in run["state"]["message"]

    status, terminal = shell.type("prefect flow-run ls --flow-name train-and-promote")
    assert (status, run["id"] in terminal) == (0, True), terminal
    status, terminal = shell.type("prefect flow-run logs FLOW_RUN_ID", FLOW_RUN_ID=run["id"])
    assert (status, "Finished in state Promoted" in terminal) == (0, True), terminal


def test_a_rollback_is_started_by_its_deployment_and_says_that_there_is_nothing_to_go_back_to(
    shell: Shell, worker: None
) -> None:
    status, terminal = shell.type("prefect deployment run rollback/by-hand --watch --watch-timeout 600")
    assert status == 1, terminal

    status, terminal = shell.type('prefect deployment run rollback/by-hand --params \'{"options": {"to": 2}}\'')
    assert status == 0, terminal

    def messages() -> set[str]:
        failed = {"flow_runs": {"state": {"type": {"any_": ["FAILED"]}}}, "flows": {"name": {"any_": ["rollback"]}}}
        return {run["state"]["message"] for run in shell.api("/flow_runs/filter", failed)}

    wait_until(lambda: len(messages()) == 2, "both rollbacks have ended")
    assert any("No version of model 'diabetes-ridge' was released before version 1" in each for each in messages())
    assert any("Version 2 of model 'diabetes-ridge' was never released." in each for each in messages())


def test_the_export_line_of_the_page_reaches_the_commands(shell: Shell) -> None:
    (line,) = (command for command in COMMANDS if command.startswith("export "))
    assert OWN_PORT in line

    status, terminal = shell.type_variation(f"{line.replace(OWN_PORT, '')} && command -v prefect")

    shell.typed.add(line)
    assert (status, terminal) == (0, str(shell.clone.directory / ".venv" / "bin" / "prefect"))


def test_every_command_of_the_page_was_typed(shell: Shell) -> None:
    assert set(COMMANDS) == shell.typed
