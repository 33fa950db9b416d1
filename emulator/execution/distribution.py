"""Distributed runs: how many processes on how many nodes, and the variables by which they find each other.

Pure, apart from :func:`free_ports` and :func:`has_nvidia_gpu`. What is set is what Azure ML documents in "Distributed
GPU training guide (SDK v1)", https://learn.microsoft.com/azure/machine-learning/how-to-train-distributed-gpu. All nodes
are this machine, so that every address is 127.0.0.1.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

HOST = "127.0.0.1"
LOG = "user_logs/std_log.txt"
MPI_LOG = "azureml-logs/70_mpi_log.txt"
_MPI_RANK = Path(__file__).parent / "mpi_rank.py"

# Nodes are processes here: more ranks than cores are wanted, bound to none, by whoever started the emulator. The first
# of each pair is read by Open MPI 4, the second by Open MPI 5; MPICH and Intel MPI need nothing.
_OPEN_MPI = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    "OMPI_MCA_hwloc_base_binding_policy": "none",
    "PRTE_MCA_hwloc_default_binding_policy": "none",
}

Kind = Literal["single", "mpi", "parameter_server", "torch"]


@dataclass(frozen=True)
class Distribution:
    """The processes of a run.

    Attributes:
        kind: what starts them and how they find each other.
        nodes: how many of the compute target's nodes the run takes.
        processes: how many there are in all, without parameter servers; at least one on each node.
        parameter_servers: beside the workers, on their nodes.
        needs_gpu: whether the backend works on GPUs of NVIDIA only (NCCL).
    """

    kind: Kind = "single"
    nodes: int = 1
    processes: int = 1
    parameter_servers: int = 0
    needs_gpu: bool = False

    @property
    def processes_per_node(self) -> int:
        return -(-self.processes // self.nodes)


@dataclass(frozen=True)
class Process:
    """One process that is started for a run.

    Attributes:
        title: for messages, for example ``worker 1``; empty for the only process.
        log: name of the artifact that gets what it prints.
        node: number of the node that it is on.
        variables: beside those that all processes of the run have.
        serves: whether it is ended, in good order, when all others have ended.
        launcher: what comes before its command line.
    """

    title: str = ""
    log: str = LOG
    node: int = 0
    variables: dict[str, str] = field(default_factory=dict)
    serves: bool = False
    launcher: tuple[str, ...] = ()


def rank_log(rank: int) -> str:
    """The name of a rank's log. The SDK streams the one of rank 0."""
    return f"user_logs/std_log_process_{rank:02d}.txt"


def ports_needed(distribution: Distribution) -> int:
    """How many free ports :func:`processes_of` wants."""
    if distribution.kind == "parameter_server":
        return distribution.processes + distribution.parameter_servers
    return 0 if distribution.kind == "single" else 1


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nobody listens on."""
    with ExitStack() as opened:
        sockets = [opened.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind((HOST, 0))
        return [int(one.getsockname()[1]) for one in sockets]


def has_nvidia_gpu() -> bool:
    """Whether this machine has a GPU that NCCL could use: NVIDIA's driver makes a device for each."""
    return any(Path("/dev").glob("nvidia[0-9]*"))


def processes_of(distribution: Distribution, ports: Sequence[int]) -> tuple[Process, ...]:
    """The processes to start for a run. Those of MPI are started by ``mpiexec``: see :func:`mpi_launcher`."""
    hosts = [HOST] * distribution.nodes
    common = {
        "AZUREML_NODE_COUNT": str(distribution.nodes),
        "AZ_BATCH_NODE_LIST": ";".join(hosts),
        "AZ_BATCH_HOST_LIST": ",".join(hosts),
    }
    if distribution.kind == "parameter_server":
        return _with_parameter_servers(distribution, ports, common)
    if distribution.kind == "torch":
        return _of_torch(distribution, ports[0], common)
    if distribution.kind == "mpi":
        master = {"AZ_BATCHAI_MPI_MASTER_NODE": HOST, "AZ_BATCH_MASTER_NODE": f"{HOST}:{ports[0]}"}
        return (Process("mpiexec", MPI_LOG, variables={**common, **master, **_OPEN_MPI}),)
    return (Process(),)


def mpi_launcher(
    distribution: Distribution, mpiexec: str, interpreter: str, node_directory: str, log: str, outcome: str
) -> tuple[str, ...]:
    """What to put before the command line of a rank, so that ``mpiexec`` starts them all.

    Args:
        distribution: of the run.
        mpiexec: the program.
        interpreter: that executes ``mpi_rank.py``.
        node_directory: working directory with ``{node}`` for the node's number.
        log: the file that gets what a rank prints, with ``{rank:02d}``.
        outcome: the file that gets the exit code of a rank that fails, with ``{rank:02d}``.
    """
    count = str(distribution.processes)
    places = (node_directory, log, outcome, str(distribution.processes_per_node), count)
    return (mpiexec, "-n", count, interpreter, str(_MPI_RANK), *places)


def _with_parameter_servers(
    distribution: Distribution, ports: Sequence[int], common: dict[str, str]
) -> tuple[Process, ...]:
    addresses = [f"{HOST}:{port}" for port in ports]
    workers, servers = addresses[: distribution.processes], addresses[distribution.processes :]
    cluster = {"worker": workers, "ps": servers} if servers else {"worker": workers}
    started = []
    for kind, title, members in (("worker", "worker", workers), ("ps", "parameter server", servers)):
        for index in range(len(members)):
            config = {"cluster": cluster, "task": {"type": kind, "index": index}, "environment": "cloud"}
            log = rank_log(index) if kind == "worker" else rank_log(index).replace(".txt", "_ps.txt")
            started.append(
                Process(
                    title=f"{title} {index}",
                    log=log,
                    node=index % distribution.nodes,
                    variables={
                        **common,
                        "TF_CONFIG": json.dumps(config),
                        "AZUREML_PROCESS_NAME": f"{kind}_{index}",
                        "AZ_BATCHAI_WORKER_HOSTS": ",".join(workers),
                        "AZ_BATCHAI_PS_HOSTS": ",".join(servers),
                        "AZ_BATCHAI_TASK_INDEX": str(index),
                    },
                    serves=kind == "ps",
                )
            )
    return tuple(started)


def _of_torch(distribution: Distribution, port: int, common: dict[str, str]) -> tuple[Process, ...]:
    per_node = distribution.processes_per_node
    return tuple(
        Process(
            title=f"rank {rank}",
            log=rank_log(rank),
            node=rank // per_node,
            variables={
                **common,
                "MASTER_ADDR": HOST,
                "MASTER_PORT": str(port),
                "WORLD_SIZE": str(distribution.processes),
                "RANK": str(rank),
                "LOCAL_RANK": str(rank % per_node),
                "LOCAL_WORLD_SIZE": str(per_node),
                "NODE_RANK": str(rank // per_node),
                "AZUREML_PROCESS_NAME": f"rank_{rank}",
            },
        )
        for rank in range(distribution.processes)
    )
