"""What the workflows of GitHub Actions may do, and who gets which secret."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import REPOSITORY
from tests.github_runner import Runner, Trigger, planned_steps

pytestmark = pytest.mark.unit

WORKFLOWS = sorted((REPOSITORY / ".github" / "workflows").glob("*.yml"))
AZURE = {"AZURE_CLIENT_ID": "an-id", "AZURE_TENANT_ID": "an-id", "SUBSCRIPTION_ID": "an-id"}


def pull_request(repository: str, secrets: dict[str, str]) -> Trigger:
    head = {"sha": "5a1f0c2", "repo": {"full_name": repository}}
    return Trigger("pull_request", {"pull_request": {"number": 7, "head": head}}, secrets=secrets)


def steps(job: str, trigger: Trigger) -> list[str]:
    """What a job of train-and-promote.yml does after its virtual environment is there."""
    planned = planned_steps(content("train-and-promote.yml")["jobs"][job], trigger)
    return planned[planned.index("Virtual environment") + 1 :] if planned else []


def content(workflow: str) -> dict[Any, Any]:
    parsed: dict[Any, Any] = yaml.safe_load((REPOSITORY / ".github" / "workflows" / workflow).read_text())
    return parsed


def secrets_in(part: object) -> set[str]:
    return set(re.findall(r"secrets\.(\w+)", str(part)))


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_every_action_is_pinned_by_commit_and_says_its_version(workflow: Path) -> None:
    uses = re.findall(r"uses: (.*)", workflow.read_text())

    assert uses
    assert not [line for line in uses if not re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line)]


def test_one_action_has_one_version_in_all_workflows() -> None:
    pins = {line for path in WORKFLOWS for line in re.findall(r"uses: (.*)", path.read_text())}

    assert len(pins) == len({pin.split("@")[0] for pin in pins})


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_a_job_has_no_permission_that_it_does_not_name(workflow: Path) -> None:
    parsed = content(workflow.name)

    assert parsed["permissions"] == {}
    assert all("permissions" in job for job in parsed["jobs"].values())


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_the_token_of_the_checkout_is_not_left_on_the_runner(workflow: Path) -> None:
    steps = [step for job in content(workflow.name)["jobs"].values() for step in job["steps"]]
    checkouts = [step for step in steps if step.get("uses", "").startswith("actions/checkout@")]

    assert checkouts
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


def test_ci_needs_no_secret() -> None:
    assert secrets_in(content("ci.yml")) == set()


def test_what_a_pull_request_proposes_cannot_start_a_release() -> None:
    compare = content("train-and-promote.yml")["jobs"]["compare"]

    assert compare["environment"] != content("train-and-promote.yml")["jobs"]["release"]["environment"]
    assert not {name for name in secrets_in(compare) if name.startswith("PREFECT")}


def test_a_push_is_run_by_a_worker_where_there_is_a_prefect_server_with_no_login_to_azure_here() -> None:
    trigger = Trigger("push", secrets={**AZURE, "PREFECT_API_URL": "https://prefect/api"})

    assert steps("release", trigger) == ["Deploy this commit", "Run on a Prefect worker", "Report"]
    assert steps("compare", trigger) == []


def test_a_push_is_run_here_without_a_prefect_server_logged_in_by_openid_connect() -> None:
    assert steps("release", Trigger("push", secrets=AZURE)) == ["Log in to Azure", "Run on this runner", "Report"]


def test_a_push_is_run_here_with_azure_credentials() -> None:
    trigger = Trigger("push", secrets={"AZURE_CREDENTIALS": "{}"})

    assert steps("release", trigger) == ["Mask the client secret", "Run on this runner", "Report"]


def test_a_pull_request_is_compared_and_commented_on() -> None:
    trigger = pull_request("owner/repository", AZURE)

    assert steps("compare", trigger) == ["Log in to Azure", "Train and compare", "Report", "Comment"]
    assert steps("release", trigger) == []


def test_a_pull_request_from_a_fork_is_run_without_login_and_without_comment() -> None:
    trigger = pull_request("somebody/repository", {})

    assert steps("compare", trigger) == ["Say that production is out of reach", "Train and compare", "Report"]


def test_no_workflow_gives_secrets_to_the_code_of_a_fork() -> None:
    # GitHub keeps them from pull_request, and gives them to these two.
    triggers = {name for path in WORKFLOWS for name in content(path.name)[True]}

    assert not triggers & {"pull_request_target", "workflow_run"}


def test_every_secret_is_described() -> None:
    described = (REPOSITORY / "docs" / "github.md").read_text()
    used = {name for path in WORKFLOWS for name in secrets_in(content(path.name))}

    assert used
    assert not [name for name in used if f"`{name}`" not in described]


@pytest.mark.parametrize("version", ["3.10", "3.11", "3.12"])
def test_ci_tests_every_supported_python(version: str) -> None:
    assert version in content("ci.yml")["jobs"]["test"]["strategy"]["matrix"]["python"]


@pytest.mark.parametrize(("job", "command"), [("lint", "ruff check"), ("test", "-m pytest")])
def test_the_steps_of_ci_are_commands_of_the_makefile(job: str, command: str, tmp_path: Path) -> None:
    checkout, scratch = tmp_path / "checkout", tmp_path / "scratch"
    shutil.copytree(REPOSITORY / ".github", checkout / ".github")
    for name in ("Makefile", "requirements.txt"):
        shutil.copy2(REPOSITORY / name, checkout)
    scratch.mkdir()

    done = Runner(checkout, {"PATH": os.environ["PATH"]}, scratch).run(
        "ci.yml", job, pull_request("owner/repository", {})
    )

    assert done.conclusion == "success", done.output
    assert "pip sync" in done.output["Virtual environment"]
    assert command in "".join(done.output.values())
