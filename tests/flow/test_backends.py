"""Whole runs with an existing settings file: each compute, backend and sampling method in turn.

Each option by itself is in tests/emulator/test_training.py, and what tuning leads to in test_tuning.py.
"""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY
from tests.flow.conftest import Checkout, FinishedRun
from tests.ssh_machine import PASSPHRASE, PASSWORD, USER, password_server, sshd

pytestmark = pytest.mark.backends

LEGACY = REPOSITORY / "tests" / "unit" / "settings_files" / "legacy.json"

METRICS = """
    def finish(**metrics):
        from azureml.core import Run
        run = Run.get_context(allow_offline=False)
        for name, value in {"accuracy": 0.9, "auc": 0.9, "log_loss": 0.1, **metrics}.items():
            run.log(name, value)
"""
SINGLE = "finish(processes=1)"
MPI = """
    from mpi4py import MPI
    world = MPI.COMM_WORLD
    total = world.allreduce(world.rank + 1)
    if world.rank == 0:
        finish(total=total)
"""
GLOO = """
    import os, socket, time
    rank, size, port = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "MASTER_PORT"))
    if rank == 0:
        server = socket.create_server((os.environ["MASTER_ADDR"], port))
        total = 1 + sum(int(server.accept()[0].makefile().readline()) for _ in range(size - 1))
        finish(total=total)
    else:
        while True:
            try:
                connection = socket.create_connection((os.environ["MASTER_ADDR"], port), timeout=60)
                break
            except ConnectionRefusedError:
                time.sleep(0.05)
        connection.sendall(f"{rank + 1}\\n".encode())
"""
PARAMETER_SERVER = """
    import json, os, socket, time
    config = json.loads(os.environ["TF_CONFIG"])
    host, port = config["cluster"]["ps"][0].split(":")
    if config["task"]["type"] == "ps":
        server = socket.create_server((host, int(port)))
        connections = [server.accept()[0] for _ in config["cluster"]["worker"]]
        total = sum(int(connection.makefile().readline()) for connection in connections)
        for connection in connections:
            connection.sendall(f"{total}\\n".encode())
    else:
        while True:
            try:
                connection = socket.create_connection((host, int(port)), timeout=60)
                break
            except ConnectionRefusedError:
                time.sleep(0.05)
        connection.sendall(f"{config['task']['index'] + 1}\\n".encode())
        total = int(connection.makefile().readline())
        if config["task"]["index"] == 0:
            finish(total=total)
"""


@pytest.fixture
def run(checkout: Checkout) -> Callable[..., FinishedRun]:
    """A run up to the gate, of a script, with the existing file and what is switched on in it."""

    def run(script: str, **changes: Any) -> FinishedRun:
        settings = json.loads(LEGACY.read_text())
        experiment = settings["experiment"]
        experiment["source_directory"] = "code/backends"
        experiment["hyperparameter_sampling"]["use_hyperparameter_sampling"] = False
        experiment |= {"user_managed": True, "interpreter_path": sys.executable, "dependencies": None}
        for option, value in changes.items():
            holder, *path = (settings, *option.split("__"))
            for key in path[:-1]:
                holder = holder[key]
            holder[path[-1]] = value
        (checkout.directory / "existing.json").write_text(json.dumps(settings))
        directory = checkout.directory / "code" / "backends"
        directory.mkdir(exist_ok=True)
        (directory / "train.py").write_text(textwrap.dedent(METRICS) + textwrap.dedent(script))
        return checkout.run("--settings", "existing.json", "--stop-before", "registration")

    return run


def metrics_of(finished: FinishedRun) -> dict[str, float]:
    assert finished.exit_status == 0, finished.terminal
    assert finished.report["outcome"] == "Compared"
    return dict(finished.report["run"]["metrics"])


def compute_of(finished: FinishedRun) -> str:
    return str(finished.report["comparison"]["candidate"]["compute_target"])


def test_the_existing_file_trains_on_its_cluster(run: Callable[..., FinishedRun]) -> None:
    finished = run(SINGLE)

    assert metrics_of(finished)["processes"] == 1
    assert compute_of(finished) == "churn-cluster"
    assert "experiment.framework.sklearn.framework_version has no effect with user_managed" in finished.terminal


def test_mpi(run: Callable[..., FinishedRun]) -> None:
    backend = {"backend_config": "mpi", "node_count": 2, "mpi": {"process_count_per_node": 2}}
    packages = {"pip_packages": ["mpi4py", "mpich"]}

    finished = run(
        MPI,
        experiment__user_managed=False,
        experiment__interpreter_path=None,
        experiment__dependencies=packages,
        experiment__framework={"name": "other"},
        experiment__distributed_training=backend,
    )

    assert metrics_of(finished)["total"] == 10


def test_a_parameter_server(run: Callable[..., FinishedRun]) -> None:
    servers = {"worker_count": "3", "parameter_server_count": "1"}
    backend = {"backend_config": "parameter_server", "node_count": 2, "parameter_server": servers}

    assert metrics_of(run(PARAMETER_SERVER, experiment__distributed_training=backend))["total"] == 6


def test_gloo(run: Callable[..., FinishedRun]) -> None:
    backend = {"backend_config": "gloo", "node_count": 2, "gloo": {"process_count_per_node": 2}}

    assert metrics_of(run(GLOO, experiment__distributed_training=backend))["total"] == 10


def test_nccl_says_that_it_needs_gpus(run: Callable[..., FinishedRun]) -> None:
    finished = run(SINGLE, experiment__distributed_training={"backend_config": "nccl"})

    assert finished.exit_status == 1
    assert "GPU" in finished.report["error"]["message"]
    assert "Traceback" not in finished.terminal


def test_more_nodes_than_there_are_is_a_mistake_in_the_settings(run: Callable[..., FinishedRun]) -> None:
    finished = run(SINGLE, experiment__distributed_training={"backend_config": "mpi", "node_count": 5})

    assert finished.exit_status == 2
    assert "experiment.distributed_training.node_count: must be at most 4" in finished.terminal


def test_a_data_science_virtual_machine(run: Callable[..., FinishedRun]) -> None:
    finished = run("finish(dsvm=1)", compute_target__compute_target_to_use_for_training="dsvm")

    assert metrics_of(finished)["dsvm"] == 1
    assert compute_of(finished) == "churn-dsvm"


def test_a_machine_of_ones_own_by_ssh_with_a_key(run: Callable[..., FinishedRun], tmp_path: Path) -> None:
    with sshd(tmp_path) as machine:
        finished = run(
            'import os\nfinish(over_ssh=len(os.environ["SSH_CONNECTION"].split()))',
            compute_target__compute_target_to_use_for_training="remotecompute",
            compute_target__training__remotecompute={
                "name": "churn-vm",
                "use_ssh_auth": True,
                "address": "127.0.0.1",
                "username": machine.user,
                "ssh_port": machine.port,
                "private_key_file": str(machine.key),
                "private_key_passphrase": PASSPHRASE,
            },
        )

    assert metrics_of(finished)["over_ssh"] == 4
    assert PASSPHRASE not in finished.terminal + finished.markdown


def test_a_wrong_password_fails_before_anything_is_submitted(run: Callable[..., FinishedRun]) -> None:
    with password_server() as port:
        finished = run(
            SINGLE,
            compute_target__compute_target_to_use_for_training="remotecompute",
            compute_target__training__remotecompute={
                "name": "password-vm",
                "address": "127.0.0.1",
                "username": USER,
                "password": f"not {PASSWORD}",
                "ssh_port": port,
            },
        )

    assert finished.exit_status == 1
    assert "Could not attach compute target 'password-vm'" in finished.report["error"]["message"]
    assert PASSWORD not in finished.terminal + finished.markdown
    assert "submit training" not in finished.report["timings"]


CHOICE = {"--epochs": {"distribution": "choice", "parameters": {"options": [5, 10, 20]}}}
UNIFORM = {"--dropout": {"distribution": "uniform", "parameters": {"min_value": 0.1, "max_value": 0.5}}}


@pytest.mark.parametrize(
    ("method", "parameters", "policy"),
    [
        ("random", None, None),  # all ten distributions and the bandit policy, as the file has them
        ("grid", CHOICE, {"name": "medianstopping"}),
        ("grid", CHOICE, {"name": "truncationselection", "truncationselection": {"truncation_percentage": 20}}),
        ("bayesian", UNIFORM, {"name": "noterminal"}),
    ],
)
def test_each_sampling_method(
    method: str, parameters: dict[str, Any] | None, policy: dict[str, Any] | None, run: Callable[..., FinishedRun]
) -> None:
    sampling = json.loads(LEGACY.read_text())["experiment"]["hyperparameter_sampling"]
    sampling |= {"method": method, "max_total_runs": 3, "max_concurrent_runs": 3}
    sampling |= {"parameters": parameters or sampling["parameters"], "policy": policy or sampling["policy"]}

    finished = run("finish()", experiment__hyperparameter_sampling=sampling)

    assert metrics_of(finished)["accuracy"] == 0.9
    assert (finished.report["tuning"]["method"], len(finished.report["tuning"]["trials"])) == (method, 3)
    hyperparameters = finished.report["comparison"]["candidate"]["hyperparameters"]
    assert set(hyperparameters) == set(sampling["parameters"])


def test_a_framework_that_cannot_be_installed_any_more_is_named(run: Callable[..., FinishedRun]) -> None:
    finished = run(SINGLE, experiment__user_managed=False, experiment__interpreter_path=None)

    assert finished.exit_status == 1
    assert "experiment.framework.sklearn.framework_version" in finished.report["error"]["next_step"]
    assert "scikit-learn" in finished.report["error"]["log_tail"]
