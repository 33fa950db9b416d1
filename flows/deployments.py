"""The flow's deployments of prefect.yaml, on the Prefect server that PREFECT_API_URL names, else on this repository's.

python -m flows.deployments deploy [--from-repository] [--tell TYPE/NAME [--of STATE ...]]
python -m flows.deployments worker

https://docs.prefect.io/v3/concepts/deployments, https://docs.prefect.io/v3/concepts/workers
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from flows import prefect_server
from flows.prefect_server import PrefectServerError

PREFECT_FILE = Path(__file__).resolve().parent.parent / "prefect.yaml"
POOL = "local-process"
POOL_TYPE = "process"

_STATES_THAT_ARE_TOLD = ("Crashed", "Failed", "RolledBack", "NotPromoted")
_STATES = (*_STATES_THAT_ARE_TOLD, "Promoted", "DataRejected", "NotApproved", "Cancelled")


def activate_environment() -> None:
    """Point what this process starts at its own virtual environment, as if it were activated."""
    # Pull steps look for uv on PATH, and uv for the environment to install into.
    os.environ["VIRTUAL_ENV"] = sys.prefix
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.prefix, "bin")), os.environ.get("PATH", os.defpath)])


def pool_exists() -> bool:
    """Whether the server has the work pool."""
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound

    try:
        with get_client(sync_client=True) as client:
            client.read_work_pool(POOL)
    except ObjectNotFound:
        return False
    return True


def fetched_from_repository(prefect_file: dict[str, Any]) -> dict[str, Any]:
    """The content of prefect.yaml with the steps with which a worker fetches the deployed commit."""
    steps: dict[str, Any] = prefect_file["definitions"]["from_repository"]
    return prefect_file | steps


def deploy(from_repository: bool, block: str | None, states: Sequence[str]) -> int:
    """Create the work pool if there is none, and deploy all of prefect.yaml; returns the exit status.

    A pool that is there is left as it is: its type and its base job template are its team's.

    Args:
        block: that the server tells the team through when a run ends in one of ``states``; None leaves that as it is.

    Raises:
        PrefectServerError: there is no notification block ``block``.
    """
    if not pool_exists():
        created = _prefect("work-pool", "create", POOL, "--type", POOL_TYPE)
        if created != 0:
            return created
    if block is not None:
        from flows.notifications import tell_of

        try:
            tell_of(states, block)
        except ValueError as error:
            raise PrefectServerError(
                f"there is no notification block '{block}' ({error}): make it in the UI, under Blocks."
            ) from error
    with tempfile.TemporaryDirectory() as directory:
        prefect_file = PREFECT_FILE
        if from_repository:
            prefect_file = Path(directory, PREFECT_FILE.name)
            content = fetched_from_repository(yaml.safe_load(PREFECT_FILE.read_text()))
            prefect_file.write_text(yaml.safe_dump(content))
        return _prefect("--no-prompt", "deploy", "--all", "--prefect-file", str(prefect_file))


def _prefect(*arguments: str) -> int:
    return subprocess.run([sys.executable, "-m", "prefect", *arguments], cwd=PREFECT_FILE.parent).returncode


def work() -> None:
    """Become a worker of the pool, in this very process: a signal to it reaches the worker.

    Raises:
        PrefectServerError: there is no pool.
    """
    if not pool_exists():
        raise PrefectServerError(f"there is no work pool '{POOL}' on this Prefect server: run `make deploy` first.")
    os.execv(sys.executable, [sys.executable, "-m", "prefect", "worker", "start", "--pool", POOL])  # noqa: S606 - no shell is meant


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m flows.deployments", description="Deploy the flow to Prefect, and work off its runs."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    deploying = commands.add_parser("deploy", help="create the work pool if need be, and deploy all of prefect.yaml")
    deploying.add_argument(
        "--from-repository",
        action="store_true",
        help="workers fetch this commit from origin, instead of running what lies in this clone",
    )
    deploying.add_argument(
        "--tell",
        metavar="TYPE/NAME",
        help="have the server send a message through this notification block when a run ends badly",
    )
    deploying.add_argument(
        "--of",
        nargs="+",
        choices=_STATES,
        default=_STATES_THAT_ARE_TOLD,
        metavar="STATE",
        help=f"names of those states, of {', '.join(_STATES)} (default: {' '.join(_STATES_THAT_ARE_TOLD)})",
    )
    commands.add_parser("worker", help="carry out runs in the foreground, until Ctrl-C")
    arguments = parser.parse_args()
    try:
        if note := prefect_server.check(prefect_server.use()):
            print(f"note: {note}", file=sys.stderr)
        activate_environment()
        if arguments.command == "deploy":
            return deploy(arguments.from_repository, arguments.tell, arguments.of)
        work()
    except PrefectServerError as error:
        print(f"deployments: {error}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
