"""Prefect for a team: the server on PostgreSQL, and two workers on machines that are no clone of the repository."""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.conftest import REPOSITORY
from tests.flow.documentation import at_the_prompt, commands_of
from tests.flow.processes import end_worker, wait_until

pytestmark = pytest.mark.postgresql

LOGIN = "team:of-the-tests"
FETCHED = ("flows", "settings", "tasks", "code", "prefect.yaml", "requirements.txt")


def run(*command: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=120, **options)


def succeed(*command: str | Path, **options: Any) -> str:
    done = run(*command, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """The address of an empty database of a PostgreSQL of the tests' own."""
    # Debian does not put it on PATH.
    found = shutil.which("initdb") or max(Path("/usr/lib/postgresql").glob("*/bin/initdb"), default=None)
    if found is None:
        pytest.fail("There is no PostgreSQL on this machine: install it with `apt-get install postgresql`.")
    binaries = Path(found).resolve().parent
    # PostgreSQL refuses to be root; what it writes must lie where another user may go, which pytest's folders forbid.
    as_user = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"] if os.getuid() == 0 else []
    with tempfile.TemporaryDirectory(prefix="postgresql-") as directory, socket.socket() as probe:
        if as_user:
            shutil.chown(directory, "nobody", "nogroup")
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        data, log = f"{directory}/data", f"{directory}/log"
        here: dict[str, Any] = {"cwd": directory}
        succeed(*as_user, binaries / "initdb", "-D", data, "-U", "prefect", "--auth=trust", "--no-sync", **here)
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={directory} -c fsync=off"
        started = [*as_user, str(binaries / "pg_ctl"), "-D", data, "-l", log, "-o", options, "-w", "start"]
        # Not captured: the server would keep the pipe open.
        subprocess.run(started, cwd=directory, check=True, timeout=60, stdout=subprocess.DEVNULL)
        try:
            succeed(binaries / "createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "prefect", "prefect")
            yield f"postgresql+asyncpg://prefect@127.0.0.1:{port}/prefect"
        finally:
            succeed(*as_user, binaries / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop", **here)


@dataclass(frozen=True)
class Team:
    """A repository that workers can fetch, a clone of it, and a Prefect server that both reach."""

    clone: Path
    api_url: str
    environment: dict[str, str]

    def api(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """What Prefect's REST API answers; POST with a body, GET without."""
        login: Any = tuple(LOGIN.split(":"))
        method = "GET" if body is None else "POST"
        answer = requests.request(method, self.api_url + path, json=body, auth=login, timeout=30)
        answer.raise_for_status()
        return answer.json()

    def type(self, command: str) -> subprocess.CompletedProcess[str]:
        """A command of docs/teams.md."""
        assert command in commands_of("teams.md")
        return run(*shlex.split(at_the_prompt(command)), cwd=self.clone, env=self.environment)

    def start(self, deployment: str, overrides: list[str]) -> str:
        """The id of a new run."""
        deployed = self.api(f"/deployments/name/train-and-promote/{deployment}")["id"]
        parameters = {"options": {"overrides": overrides}}
        return str(self.api(f"/deployments/{deployed}/create_flow_run", {"parameters": parameters})["id"])

    def ended(self, run_id: str) -> Any:
        """The run, when it has come to its end."""
        wait_until(lambda: self.api(f"/flow_runs/{run_id}")["end_time"] is not None, f"run {run_id} has ended")
        return self.api(f"/flow_runs/{run_id}")


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory, database: str) -> Iterator[Team]:
    origin, clone = tmp_path_factory.mktemp("origin"), tmp_path_factory.mktemp("clone")
    for part in FETCHED:
        copy = shutil.copytree if (REPOSITORY / part).is_dir() else shutil.copy
        copy(REPOSITORY / part, clone / part)
    identity = {
        f"GIT_{role}_{what}": "test@example.org" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")} | identity
    environment |= {
        "PREFECT_HOME": str(tmp_path_factory.mktemp("prefect")),
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": database,
        "PREFECT_SERVER_API_AUTH_STRING": LOGIN,
        "PREFECT_API_AUTH_STRING": LOGIN,
        "PREFECT_WORKER_QUERY_SECONDS": "1",
    }
    succeed("git", "init", "--quiet", "--bare", origin)
    for command in (
        "init --quiet --initial-branch main",
        "add --all",
        "commit --quiet --message First",
        f"remote add origin file://{origin}",
        "push --quiet origin main",
    ):
        succeed("git", *command.split(), cwd=clone, env=environment)
    server = (sys.executable, "-m", "flows.prefect_server")
    started = run(*server, "start", cwd=REPOSITORY, env=environment)
    assert started.returncode == 0, started.stderr
    api_url = f"{started.stdout.split()[-1]}/api"
    yield Team(clone, api_url, environment | {"PREFECT_API_URL": api_url})
    succeed(*server, "stop", cwd=REPOSITORY, env=environment)


@pytest.fixture(scope="module")
def deployed(team: Team) -> str:
    """The commit that was deployed."""
    done = team.type(".venv/bin/python -m flows.deployments deploy --from-repository")
    assert done.returncode == 0, done.stdout + done.stderr
    return succeed("git", "rev-parse", "HEAD", cwd=team.clone)


@pytest.fixture(scope="module")
def workers(team: Team, deployed: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The virtual environment of two workers: at first it has Prefect and uv, and nothing of what the flow needs."""
    machine = tmp_path_factory.mktemp("machine")
    venv = machine / "worker"
    uv = (sys.executable, "-m", "uv")
    succeed(*uv, "venv", "--quiet", "--python", sys.executable, venv)
    locked = ("--constraint", REPOSITORY / "requirements.txt", "prefect", "uv")
    succeed(*uv, "pip", "install", "--quiet", "--python", venv / "bin" / "python", *locked)
    activated = {"VIRTUAL_ENV": str(venv), "PATH": f"{venv / 'bin'}:{os.environ['PATH']}"}
    with ExitStack() as stack:
        for name in ("one", "two"):
            log = stack.enter_context((machine / f"{name}.log").open("w"))
            command = ["prefect", "worker", "start", "--pool", "local-process", "--name", name, "--limit", "1"]
            process = subprocess.Popen(
                command,
                executable=str(venv / "bin" / "prefect"),
                cwd=machine,
                env=team.environment | activated,
                stdout=log,
                stderr=log,
                start_new_session=True,
                text=True,
            )
            stack.callback(end_worker, process)
        yield venv


@pytest.mark.parametrize("command", [("flows.main",), ("flows.deployments", "deploy"), ("flows.deployments", "worker")])
def test_a_wrong_login_is_refused_with_a_sentence(team: Team, command: tuple[str, ...]) -> None:
    environment = team.environment | {"PREFECT_API_AUTH_STRING": "team:wrong"}

    refused = run(sys.executable, "-m", *command, cwd=team.clone, env=environment)

    assert refused.returncode == 1
    assert f"the Prefect server on {team.api_url} refuses the login (HTTP 401)" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_notification_block_that_is_missing_is_refused_with_a_sentence(team: Team, deployed: str) -> None:
    refused = team.type(".venv/bin/python -m flows.deployments deploy --from-repository --tell slack-webhook/mlops")

    assert refused.returncode == 1
    assert "there is no notification block 'slack-webhook/mlops'" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_two_workers_are_online(team: Team, workers: Path) -> None:
    def online() -> list[str]:
        found = team.api("/work_pools/local-process/workers/filter", {})
        return sorted(worker["name"] for worker in found if worker["status"] == "ONLINE")

    wait_until(lambda: online() == ["one", "two"], "both workers are online")


def test_workers_fetch_the_deployed_commit_install_what_it_locks_and_run_the_flow(
    team: Team, deployed: str, workers: Path
) -> None:
    azureml = (workers / "bin" / "python", "-c", "import azureml.core")
    assert run(*azureml).returncode != 0

    runs = [team.start(name, ["experiment.no_such_option=1"]) for name in ("on-push", "debug")]

    for run_id in runs:
        ended = team.ended(run_id)
        assert (ended["state_type"], ended["state_name"]) == ("FAILED", "Failed")
        assert "experiment.no_such_option" in ended["state"]["message"]
    deployment = team.api("/deployments/name/train-and-promote/on-push")
    assert deployment["version"] == deployed
    assert deployment["pull_steps"][0]["prefect.deployments.steps.git_clone"]["commit_sha"] == deployed
    succeed(*azureml)


def test_a_worker_without_a_work_pool_says_what_to_do_first(team: Team, workers: Path) -> None:
    login: Any = tuple(LOGIN.split(":"))
    requests.delete(f"{team.api_url}/work_pools/local-process", auth=login, timeout=30).raise_for_status()

    refused = run(sys.executable, "-m", "flows.deployments", "worker", cwd=team.clone, env=team.environment)

    assert refused.returncode == 1
    assert "there is no work pool 'local-process' on this Prefect server: run `make deploy` first." in refused.stderr
