"""``python -m emulator`` as a user types it."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.conftest import REPOSITORY, RunningEmulator, emulator_command, start_emulator
from tests.emulator.conftest import log_in

pytestmark = pytest.mark.emulator


def status_of(state: Path) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(emulator_command("status", "--json", "--state-dir", str(state)).stdout)
    return answer


def processes_of(state: Path) -> list[psutil.Process]:
    return [
        process
        for process in psutil.process_iter()
        if any(str(state) in argument for argument in _command_line(process))
    ]


def _command_line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return []


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


def is_refused(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def kill(state: Path) -> int:
    """End the emulator as a crash would, and return the process id that it had."""
    process = psutil.Process(status_of(state)["pid"])
    process.kill()
    process.wait(10)
    return process.pid


def says_one_sentence(refused: subprocess.CompletedProcess[str], *parts: str) -> bool:
    """Exit code 1, and on the terminal nothing but what went wrong."""
    lines = refused.stderr.strip().splitlines()
    return refused.returncode == 1 and len(lines) == 1 and all(part in lines[0] for part in parts)


def test_start_answers_and_a_second_start_finds_the_first(own_state: Path) -> None:
    first = emulator_command("start", "--state-dir", str(own_state))
    assert first.stdout.startswith("emulator started on https://127.0.0.1:"), first.stderr
    pid = status_of(own_state)["pid"]
    second = emulator_command("start", "--state-dir", str(own_state))
    assert second.returncode == 0
    assert second.stdout.startswith("emulator is running already on https://127.0.0.1:")
    assert status_of(own_state)["pid"] == pid


def test_two_starts_at_once_end_with_one_emulator(own_state: Path) -> None:
    command = [sys.executable, "-m", "emulator", "start", "--state-dir", str(own_state)]
    both = [subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = sorted(process.communicate(timeout=120)[0].split(" on ")[0] for process in both)
    assert [process.returncode for process in both] == [0, 0]
    assert said == ["emulator is running already", "emulator started"]
    assert [process.pid for process in processes_of(own_state)] == [status_of(own_state)["pid"]]


def test_a_stop_leaves_nothing_behind(own_state: Path) -> None:
    running = start_emulator(own_state)
    stopped = emulator_command("stop", "--state-dir", str(own_state))
    assert stopped.stdout == "emulator stopped\n"
    assert processes_of(own_state) == []
    assert is_refused(port_of(running.url))
    assert is_refused(port_of(running.scoring_url))
    assert emulator_command("stop", "--state-dir", str(own_state)).stdout == "no emulator was running\n"


def test_state_and_addresses_survive_a_restart(own_state: Path) -> None:
    before = start_emulator(own_state)
    group = "/subscriptions/00000000-0000-0000-0000-000000000000/resourcegroups/kept"
    assert log_in(before).call("PUT", group, json={"location": "local", "tags": {"a": "b"}}).status_code == 200
    emulator_command("stop", "--state-dir", str(own_state))
    after = start_emulator(own_state)
    assert after == before
    assert log_in(after).call("GET", group).json()["tags"] == {"a": "b"}


def test_after_a_crash_the_next_start_works_with_what_was_kept(own_state: Path) -> None:
    before = start_emulator(own_state)
    group = "/subscriptions/00000000-0000-0000-0000-000000000000/resourcegroups/kept"
    log_in(before).call("PUT", group, json={"location": "local"})
    kill(own_state)
    status = emulator_command("status", "--state-dir", str(own_state))
    assert (status.returncode, status.stdout) == (3, f"stopped (state directory {own_state})\n")
    after = start_emulator(own_state)
    assert log_in(after).call("GET", group).json()["name"] == "kept"


def test_a_stop_after_a_crash_does_not_end_another_program_that_got_the_process_id(own_state: Path) -> None:
    start_emulator(own_state)
    kill(own_state)
    description = own_state / "emulator.json"
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as innocent:
        description.write_text(json.dumps({**json.loads(description.read_text()), "pid": innocent.pid}))
        stopped = emulator_command("stop", "--state-dir", str(own_state))
        assert stopped.stdout == "no emulator was running\n"
        assert innocent.poll() is None
        innocent.communicate(b"\n")
        assert innocent.returncode == 0


def test_a_port_that_is_taken_is_named(own_state: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        refused = emulator_command("start", "--state-dir", str(own_state), "--port", str(port))
    assert says_one_sentence(refused, f"port {port} on 127.0.0.1 cannot be used", "choose another with --port")
    assert processes_of(own_state) == []


def test_another_port_is_taken_when_last_times_is_gone_and_clients_follow(own_state: Path) -> None:
    before = start_emulator(own_state)
    emulator_command("stop", "--state-dir", str(own_state))
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port_of(before.url)))
        other.listen()
        after = start_emulator(own_state)
    assert after.url != before.url
    assert after.environment["AZURE_AUTHORITY_HOST"] == after.url
    assert log_in(after).call("GET", "/subscriptions").status_code == 200


def test_a_running_emulator_is_not_moved_to_another_port(own_state: Path) -> None:
    running = start_emulator(own_state)
    refused = emulator_command("start", "--state-dir", str(own_state), "--port", "1")
    assert says_one_sentence(refused, running.url, "not on port 1", "python -m emulator stop")


@pytest.mark.parametrize("port", ["0", "65536", "https"])
def test_a_port_that_is_none_is_a_wrong_argument(port: str, own_state: Path) -> None:
    refused = emulator_command("start", "--state-dir", str(own_state), "--port", port)
    assert refused.returncode == 2
    assert f"{port} is not a port" in refused.stderr


@pytest.mark.parametrize("command", ["start", "serve"])
def test_a_state_directory_that_cannot_be_written_is_named(command: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    below_a_file = tmp_path / "file" / "state"
    refused = emulator_command(command, "--state-dir", str(below_a_file))
    assert says_one_sentence(refused, str(below_a_file), "cannot be written (Not a directory)", "--state-dir")


def test_somebody_elses_directory_is_neither_used_nor_removed(tmp_path: Path) -> None:
    precious = tmp_path / "thesis.txt"
    precious.write_text("years of work")
    started = emulator_command("start", "--state-dir", str(tmp_path))
    assert says_one_sentence(started, str(tmp_path), "is not the state directory of an emulator")
    reset = emulator_command("reset", "--state-dir", str(tmp_path))
    assert says_one_sentence(reset, str(tmp_path), "nothing was removed")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def write_garbage(database: Path) -> None:
    database.write_bytes(b"this is no database, whatever its name says" * 100)


def write_another_version(database: Path) -> None:
    with sqlite3.connect(database) as connection:
        connection.execute("PRAGMA user_version = 99")


@pytest.mark.parametrize(
    ("spoil", "complaint"), [(write_garbage, "is damaged"), (write_another_version, "is version 99")]
)
def test_a_broken_state_file_is_named_and_a_reset_mends_it(spoil: Any, complaint: str, own_state: Path) -> None:
    start_emulator(own_state)
    emulator_command("stop", "--state-dir", str(own_state))
    spoil(own_state / "state.db")
    refused = emulator_command("start", "--state-dir", str(own_state))
    assert says_one_sentence(refused, str(own_state / "state.db"), complaint, "python -m emulator reset")
    assert emulator_command("reset", "--state-dir", str(own_state)).returncode == 0
    assert emulator_command("start", "--state-dir", str(own_state)).returncode == 0


def test_a_lost_certificate_is_made_again(own_state: Path) -> None:
    start_emulator(own_state)
    emulator_command("stop", "--state-dir", str(own_state))
    (own_state / "tls" / "ca.pem").unlink()
    assert log_in(start_emulator(own_state)).call("GET", "/subscriptions").status_code == 200


def test_a_reset_stops_the_emulator_and_removes_what_it_kept(own_state: Path) -> None:
    before = start_emulator(own_state)
    reset = emulator_command("reset", "--state-dir", str(own_state))
    assert reset.stdout == f"removed {own_state}\n"
    assert not own_state.exists()
    assert processes_of(own_state) == []
    assert start_emulator(own_state).environment["AZURE_CLIENT_ID"] != before.environment["AZURE_CLIENT_ID"]


def test_the_status_lists_what_runs_in_each_workspace(own_state: Path) -> None:
    running = start_emulator(own_state)
    workspace = (
        "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/mlops"
        "/providers/Microsoft.MachineLearningServices/workspaces/mlops"
    )
    client, run = log_in(running), f"/history/v1.0{workspace}/experiments/weather"
    cluster = {"properties": {"computeType": "AmlCompute", "properties": {"vmSize": "Standard_D2_v2"}}}
    client.call("PUT", f"{workspace}/computes/cpu-cluster", json=cluster).raise_for_status()
    client.call("POST", run, json={}).raise_for_status()
    client.call("PATCH", f"{run}/runs/today", json={"status": "Running"}).raise_for_status()
    client.call("PATCH", f"{run}/runs/yesterday", json={"status": "Completed"}).raise_for_status()
    assert status_of(own_state)["workspaces"] == [
        {
            "name": "mlops",
            "resource_group": "mlops",
            "computes": [{"name": "cpu-cluster", "state": "Succeeded"}],
            "runs": [{"name": "today", "state": "Running"}],
            "services": [],
        }
    ]
    text = emulator_command("status", "--state-dir", str(own_state)).stdout
    assert "  compute  cpu-cluster  Succeeded\n  run      today        Running\n" in text


def test_env_is_refused_with_the_next_step_while_nothing_runs(own_state: Path) -> None:
    refused = emulator_command("env", "--state-dir", str(own_state))
    assert says_one_sentence(refused, str(own_state), "python -m emulator start")
    assert refused.stdout == ""


def test_a_plain_script_elsewhere_gets_the_workspace_from_its_config_without_a_login(
    emulator: RunningEmulator, tmp_path: Path, client_home: Path
) -> None:
    elsewhere = tmp_path / "somewhere else"
    elsewhere.mkdir()
    script = "from azureml.core import Workspace; print(Workspace.from_config().get_details()['id'])"
    command = (
        f'eval "$({sys.executable} -m emulator env --state-dir {emulator.state_directory} --directory "$PLACE")" '
        f'&& cd "$PLACE" && {sys.executable} -c "{script}"'
    )
    environment = {"PATH": os.environ["PATH"], "HOME": str(client_home), "PLACE": str(elsewhere)}
    done = subprocess.run(
        ["/bin/sh", "-c", command], cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.strip().endswith("/workspaces/mlops"), done.stderr
    assert f"# wrote {elsewhere / '.azureml' / 'config.json'}" in done.stderr


def test_env_leaves_a_config_that_is_there_alone_and_says_that_it_names_another_workspace(
    emulator: RunningEmulator, tmp_path: Path
) -> None:
    config = tmp_path / "config.json"
    config.write_text('{"workspace_name": "production"}')
    place = ("--directory", str(tmp_path / "project"))
    done = emulator_command("env", "--state-dir", str(emulator.state_directory), *place)
    assert done.returncode == 0
    assert f"# {config} names another workspace" in done.stderr
    assert config.read_text() == '{"workspace_name": "production"}'


def test_env_as_json_has_the_same_variables_and_writes_nothing(emulator: RunningEmulator, tmp_path: Path) -> None:
    arguments = ("env", "--state-dir", str(emulator.state_directory), "--directory", str(tmp_path))
    variables = json.loads(emulator_command(*arguments, "--json").stdout)
    assert list(tmp_path.iterdir()) == []
    lines = emulator_command(*arguments).stdout.splitlines()
    assert [line.partition("=")[0] for line in lines] == [f"export {name}" for name in variables]


def test_the_log_has_requests_and_no_secrets(own_state: Path) -> None:
    missing = emulator_command("logs", "--state-dir", str(own_state))
    assert says_one_sentence(missing, "there is no log", "python -m emulator start")
    running = start_emulator(own_state)
    client = log_in(running)
    client.call("GET", "/subscriptions?sig=abcdef")
    log = emulator_command("logs", "--state-dir", str(own_state)).stdout
    assert "GET /subscriptions 200" in log
    token = str(client.session.headers["Authorization"]).split()[1]
    for secret in ("abcdef", token, running.environment["AZURE_CLIENT_SECRET"]):
        assert secret not in log


def test_ctrl_c_ends_an_emulator_in_the_foreground(own_state: Path) -> None:
    command = [sys.executable, "-m", "emulator", "serve", "--state-dir", str(own_state)]
    with subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert any("ready on https://" in line for line in process.stderr)
        assert status_of(own_state)["pid"] == process.pid
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    assert status_of(own_state)["running"] is False
