"""One rank of an MPI run: its variables, its log, and what became of it.

``mpiexec`` starts it as ``python mpi_rank.py NODE_DIRECTORY LOG OUTCOME PROCESSES_PER_NODE PROCESSES COMMAND ...``,
with the interpreter of the run's environment, so that it knows the standard library only.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from types import FrameType

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)
# Open MPI; MPICH and Intel MPI; whatever else speaks PMIx.
_RANK_VARIABLES = ("OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK")


def _die_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def rank_variables(rank: int, processes: int, per_node: int) -> dict[str, str]:
    """What a program on Azure reads, where images have Open MPI. To ``mpiexec``, all ranks here are on one node."""
    return {
        "OMPI_COMM_WORLD_RANK": str(rank),
        "OMPI_COMM_WORLD_SIZE": str(processes),
        "OMPI_COMM_WORLD_LOCAL_RANK": str(rank % per_node),
        "OMPI_COMM_WORLD_LOCAL_SIZE": str(per_node),
        "OMPI_COMM_WORLD_NODE_RANK": str(rank % per_node),
        "AZUREML_PROCESS_NAME": f"rank_{rank}",
    }


def main() -> int:
    node_directory, log, outcome, per_node, processes = sys.argv[1:6]
    rank = int(next(os.environ[name] for name in _RANK_VARIABLES if name in os.environ))
    with open(log.format(rank=rank), "ab") as output:  # noqa: PTH123
        process = subprocess.Popen(
            sys.argv[6:],
            cwd=node_directory.format(node=rank // int(per_node)),
            env={**os.environ, **rank_variables(rank, int(processes), int(per_node))},
            stdout=output,
            stderr=output,
            close_fds=False,  # MPI talks to mpiexec through an open file
            preexec_fn=_die_with_parent,
        )

    def end_with_the_others(number: int, _: FrameType | None) -> None:
        process.send_signal(number)
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, end_with_the_others)
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)  # mpiexec may be killed before it can end its ranks
    code = process.wait()
    if code != 0:
        with open(outcome.format(rank=rank), "w") as file:  # noqa: PTH123
            file.write(str(code))
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
