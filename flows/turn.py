"""Releases take turns: on one workspace, one at a time, whoever started them, wherever they run.

By a global concurrency limit of the Prefect server: https://docs.prefect.io/v3/concepts/global-concurrency-limits
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from prefect.client.orchestration import get_client
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound

from flows.road import Road
from settings.workspace import WorkspaceTarget
from tasks.errors import OperationTimeout

# The shortest that the server grants. It is renewed while the flow lives, so that one that was killed blocks no longer.
_LEASE_SECONDS = 60


def limit_name(target: WorkspaceTarget) -> str:
    """The name of a workspace's limit, as Prefect's UI shows it under Concurrency."""
    return f"release {target.subscription_id} {target.resource_group} {target.name}".lower()


@contextmanager
def turn_to_release(road: Road) -> Iterator[None]:
    """Wait until no other flow releases to the workspace, and keep others waiting while the ``with`` block runs.

    Raises:
        OperationTimeout: another flow has not come to its end in time.
    """
    name, minutes = limit_name(road.target), road.settings.waiting.turn_minutes
    _ensure_limit(name)
    with ExitStack() as held:
        with road.console.step("turn to release", lasting=True):
            turn = concurrency(
                name,
                timeout_seconds=minutes * 60,
                lease_duration=_LEASE_SECONDS,
                strict=True,
                # A release that has begun goes on while the server is away: half of one would be worse than two.
                raise_on_lease_renewal_failure=False,
            )
            try:
                held.enter_context(turn)
            except TimeoutError as error:
                raise OperationTimeout(
                    f"Another flow has been releasing to workspace '{road.target.name}' for {minutes:g} minutes.",
                    f"Look in Prefect's UI for the run that holds the concurrency limit '{name}', and start this one "
                    "again after it; raise waiting.turn_minutes when releases take that long.",
                ) from error
        yield


def _ensure_limit(name: str) -> None:
    with get_client(sync_client=True) as client:
        try:
            client.read_global_concurrency_limit_by_name(name)
        except ObjectNotFound:
            try:
                client.upsert_global_concurrency_limit_by_name(name, 1)
            except ObjectAlreadyExists:  # another flow has made it just now
                return
