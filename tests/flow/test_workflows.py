"""The ``run:`` steps of the workflows, in a clean checkout, with what GitHub, a Prefect server and a worker give them.

Stand-ins: tests/github_runner.py for GitHub's runner, tests/github_api.py for its REST API. The virtual environment is
there already, for the jobs (a link) as for the worker (its ``uv`` does nothing).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.conftest import REPOSITORY, RunningEmulator
from tests.flow.conftest import Checkout
from tests.flow.processes import end_worker
from tests.github_api import GitHubApi, github_api
from tests.github_runner import Runner, Trigger

pytestmark = pytest.mark.flow

PUSH = Trigger("push")
BY_HAND = Trigger("workflow_dispatch")
AZURE_SECRETS = {
    "SUBSCRIPTION_ID": "00000000-0000-0000-0000-000000000000",
    "RESOURCE_GROUP": "risk-team-group",
    "LOCATION": "local",
    "FRIENDLY_NAME": "Risk team",
}
WORKFLOW = "train-and-promote.yml"
FLOW_RUN = "github-1001-1"


@pytest.fixture(scope="module")
def repository(checkout: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """The checkout as a Git repository that is its own origin, on a machine that knows no Prefect server."""
    directory = checkout.directory
    shutil.copytree(REPOSITORY / ".github", directory / ".github")
    for name in ("Makefile", "prefect.yaml", "pyproject.toml", "requirements.txt"):
        shutil.copy2(REPOSITORY / name, directory)
    author = ["-c", "user.name=tests", "-c", "user.email=tests@localhost"]
    for command in (
        ["init", "--quiet", "--initial-branch=main"],
        ["add", "."],
        [*author, "commit", "--quiet", "--message=all"],
        ["remote", "add", "origin", str(directory)],
    ):
        subprocess.run(["git", *command], cwd=directory, check=True)
    (directory / ".venv").symlink_to(sys.prefix)
    environment = {name: value for name, value in checkout.environment.items() if not name.startswith("PREFECT_API")}
    environment["PREFECT_HOME"] = str(tmp_path_factory.mktemp("prefect-of-the-runner"))
    return replace(checkout, environment=environment)


@pytest.fixture(scope="module")
def server_secrets(prefect_server: dict[str, str]) -> dict[str, str]:
    return {"PREFECT_API_URL": prefect_server["PREFECT_API_URL"]}


@pytest.fixture
def api() -> Iterator[GitHubApi]:
    with github_api() as running:
        yield running


@pytest.fixture
def runner(repository: Checkout, tmp_path: Path) -> Runner:
    shutil.rmtree(repository.directory / "reports", ignore_errors=True)  # every job has a checkout of its own
    return Runner(repository.directory, repository.environment, tmp_path)


@contextmanager
def worker(checkout: Checkout, directory: Path) -> Iterator[None]:
    """A worker in a directory of its own, whose environment is up to date whatever it is asked to install."""
    commands = directory / "bin"
    commands.mkdir(parents=True)
    (commands / "uv").write_text("#!/bin/sh\n")
    (commands / "uv").chmod(0o755)
    environment = {
        **checkout.environment,
        "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "prefect", "worker", "start", "--pool", "local-process"],
        cwd=directory,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        text=True,
    )
    try:
        yield
    finally:
        end_worker(process)


def flow_runs(api_url: str, name: str) -> list[dict[str, Any]]:
    asked = {"flow_runs": {"name": {"any_": [name]}}}
    found: list[dict[str, Any]] = requests.post(f"{api_url}/flow_runs/filter", json=asked, timeout=30).json()
    return found


def test_without_a_prefect_server_there_is_nothing_to_deploy_to(runner: Runner) -> None:
    done = runner.run("deploy-flows.yml", "deploy", PUSH)

    assert done.conclusion == "success"
    assert list(done.output) == ["Say that there is no Prefect server"]
    assert "::notice::The secret PREFECT_API_URL is not set" in "".join(done.output.values())


def test_a_push_to_main_deploys_that_commit(
    runner: Runner, repository: Checkout, server_secrets: dict[str, str]
) -> None:
    done = runner.run("deploy-flows.yml", "deploy", replace(PUSH, secrets=server_secrets))

    assert done.conclusion == "success", done.output
    url = f"{server_secrets['PREFECT_API_URL']}/deployments/name/train-and-promote/on-push"
    deployment = requests.get(url, timeout=30).json()
    commit = repository.shell("git rev-parse HEAD").stdout.strip()
    assert deployment["version"] == commit
    assert commit in json.dumps(deployment["pull_steps"])


def test_cancelling_the_job_cancels_the_prefect_run(runner: Runner, server_secrets: dict[str, str]) -> None:
    url = server_secrets["PREFECT_API_URL"]
    before = {run["id"] for run in flow_runs(url, FLOW_RUN)}

    def started() -> bool:
        return {run["id"] for run in flow_runs(url, FLOW_RUN)} > before

    done = runner.run(WORKFLOW, "release", replace(BY_HAND, secrets=server_secrets), cancel_when=started)

    assert done.conclusion == "cancelled"
    assert [run["state"]["name"] for run in flow_runs(url, FLOW_RUN)] == ["Cancelled"]
    assert "The flow run github-1001-1 made no report. It is Cancelled" in done.summary
    # The next test starts a run of the same name.
    [run] = flow_runs(url, FLOW_RUN)
    requests.delete(f"{url}/flow_runs/{run['id']}", timeout=30).raise_for_status()


def test_by_hand_a_worker_runs_the_deployed_commit_with_the_inputs(
    runner: Runner, checkout: Checkout, server_secrets: dict[str, str], tmp_path: Path
) -> None:
    inputs = {"overrides": "experiment.script_parameters.--alpha=0.3", "settings_file": "", "compare_only": "true"}

    with worker(checkout, tmp_path / "worker"):
        done = runner.run(WORKFLOW, "release", replace(BY_HAND, secrets=server_secrets, inputs=inputs))

    assert done.conclusion == "success", done.output
    assert "Deploy this commit" not in done.output
    assert "'Compared'" in done.output["Run on a Prefect worker"]
    [run] = flow_runs(server_secrets["PREFECT_API_URL"], FLOW_RUN)
    assert run["parameters"]["options"]["overrides"] == [inputs["overrides"]]
    assert done.summary.startswith("# Compared: production is untouched")
    assert "| mse | smaller |" in done.summary


def test_the_summary_is_the_report_that_the_run_has_left_at_the_server(
    repository: Checkout, server_secrets: dict[str, str]
) -> None:
    url = server_secrets["PREFECT_API_URL"]
    deployment = requests.get(f"{url}/deployments/name/train-and-promote/on-push", timeout=30).json()
    asked = {"name": "github-1002-1", "state": {"type": "PENDING"}}
    run = requests.post(f"{url}/deployments/{deployment['id']}/create_flow_run", json=asked, timeout=30).json()
    for text in ("# Failed, at the first attempt", "# Promoted\n\n![latency](data:image/png;base64,AAAA)"):
        report = {"key": "promotion-report", "type": "markdown", "data": text, "flow_run_id": run["id"]}
        requests.post(f"{url}/artifacts/", json=report, timeout=30).raise_for_status()

    environment = {**repository.environment, **server_secrets, "FLOW_RUN_NAME": "github-1002-1"}
    summary = replace(repository, environment=environment).command("flows.github.summary")

    assert summary.stdout == "# Promoted\n\n*latency: in Prefect's UI*\n", summary.stderr


def test_a_pull_request_gets_the_comparison_as_a_comment_that_shows_no_secret(
    repository: Checkout, checkout: Checkout, emulator: RunningEmulator, api: GitHubApi, tmp_path: Path
) -> None:
    head = {"sha": "5a1f0c2", "repo": {"full_name": "owner/repository"}}
    secrets = {**AZURE_SECRETS, "WORKSPACE_NAME": checkout.environment["WORKSPACE_NAME"], "AZURE_CLIENT_ID": "an-id"}
    proposed = Trigger("pull_request", {"pull_request": {"number": 7, "head": head}}, secrets=secrets)
    # Logged in to Azure by a step that only GitHub can run; a server that runs already, to be quick.
    environment = {**checkout.environment, **emulator.environment}

    done = Runner(repository.directory, environment, tmp_path, api.url).run(WORKFLOW, "compare", proposed)

    assert done.conclusion == "success", done.output
    assert "Say that production is out of reach" not in done.output
    assert done.summary.startswith("# Compared")
    [comment] = [comment["body"] for comment in api.comments]
    assert "# Compared" in comment
    assert "Commit 5a1f0c2" in comment
    assert "workspace: ***" in comment
    assert not [name for name, value in secrets.items() if value in comment and name != "AZURE_CLIENT_ID"]


def test_without_a_server_a_release_on_the_runner_wants_azure_and_not_an_emulator(runner: Runner) -> None:
    done = runner.run(WORKFLOW, "release", PUSH)

    assert done.conclusion == "failure"
    said = done.output["Run on this runner"]
    assert "is required on Azure: set it, or the environment variable SUBSCRIPTION_ID" in said
    assert "The flow did not start" in done.summary


def test_a_prefect_server_that_does_not_answer_is_named(repository: Checkout) -> None:
    environment = {**repository.environment, "PREFECT_API_URL": "http://127.0.0.1:9/api", "FLOW_RUN_NAME": "any"}

    summary = replace(repository, environment=environment).command("flows.github.summary")

    assert summary.returncode == 1
    assert "::error::The Prefect server cannot be asked" in summary.stderr
    assert "Traceback" not in summary.stderr


def test_a_wrong_input_ends_the_job_before_anything_starts(runner: Runner) -> None:
    done = runner.run(WORKFLOW, "release", replace(BY_HAND, inputs={"overrides": "alpha"}))

    assert done.conclusion == "failure"
    assert "::error::The input overrides has alpha" in done.output["Run on this runner"]


def test_what_stands_in_an_input_is_never_run(runner: Runner, repository: Checkout) -> None:
    runner.run(WORKFLOW, "release", replace(BY_HAND, inputs={"overrides": "a.b='$(touch injected)`touch injected`'"}))

    assert not (repository.directory / "injected").exists()


def test_the_client_secret_of_azure_credentials_is_masked(runner: Runner) -> None:
    credentials = json.dumps({"clientId": "a", "clientSecret": "hidden", "tenantId": "b"})

    done = runner.run(WORKFLOW, "release", replace(PUSH, secrets={"AZURE_CREDENTIALS": credentials}))

    assert "::add-mask::hidden" in done.output["Mask the client secret"]
    assert "hidden" not in done.output["Run on this runner"]
