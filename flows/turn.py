"""Releases take turns: on one workspace, one at a time, whoever started them, wherever they run.

By a global concurrency limit of the Prefect server: https://docs.prefect.io/v3/concepts/global-concurrency-limits
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import httpx
from prefect.client.orchestration import get_client
from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.settings import get_current_settings

from settings.workspace import WorkspaceTarget
from tasks.errors import MlopsError, OperationTimeout, http_status

if TYPE_CHECKING:
    from flows.road import Road

# The shortest that the server grants. It is renewed while the flow lives, so that one that was killed blocks no longer.
_LEASE_SECONDS = 60


def limit_name(target: WorkspaceTarget) -> str:
    """The name of a workspace's limit, as Prefect's UI shows it under Concurrency."""
    return f"release {target.subscription_id} {target.resource_group} {target.name}".lower()


@contextmanager
def turn_to_release(road: Road) -> Iterator[None]:
    """Wait until no other flow releases to the workspace, and keep others waiting while the ``with`` block runs.

    Raises:
        MlopsError: Prefect's server does not answer, or refuses.
        OperationTimeout: another flow has not come to its end in time.
    """
    with ExitStack() as held:
        with road.console.step("turn to release", lasting=True):
            held.enter_context(turn_on(road.target, road.settings.waiting.turn_minutes))
        yield


@contextmanager
def turn_on(target: WorkspaceTarget, minutes: float) -> Iterator[None]:
    """The same without a road.

    Args:
        minutes: to wait at most.
    """
    name = limit_name(target)
    turn = concurrency(
        name,
        timeout_seconds=minutes * 60,
        lease_duration=_LEASE_SECONDS,
        strict=True,
        # A release that has begun goes on while the server is away: half of one would be worse than two.
        raise_on_lease_renewal_failure=False,
    )
    with ExitStack() as held:
        try:
            _ensure_limit(name)
            held.enter_context(turn)
        except TimeoutError as error:
            raise OperationTimeout(
                f"Another flow has been releasing to workspace '{target.name}' for {minutes:g} minutes.",
                f"Look in Prefect's UI for the run that holds the concurrency limit '{name}', and start this one "
                "again after it; raise waiting.turn_minutes when releases take that long.",
            ) from error
        # RuntimeError is what Prefect's client makes of a server that does not tell its version.
        except (httpx.HTTPError, ConcurrencySlotAcquisitionError, RuntimeError) as error:
            raise _no_turn(name, error) from error
        yield


def _no_turn(name: str, error: Exception) -> MlopsError:
    server, status = get_current_settings().api.url, http_status(error)
    again = "Nothing was released: start the run again, which finds what was trained."
    if status in (401, 403):
        return MlopsError(
            f"The Prefect server on {server} refuses to give out the concurrency limit '{name}' (HTTP {status}).",
            "Set PREFECT_API_KEY (Prefect Cloud) or PREFECT_API_AUTH_STRING (a server of your own) to one that may "
            f"change concurrency limits. {again}",
        )
    if status is not None:
        return MlopsError(
            f"The Prefect server on {server} cannot give out the concurrency limit '{name}' (HTTP {status}).",
            f"Look at its log. {again}",
        )
    reason = " ".join(str(error.__cause__ or error).split()) or type(error).__name__
    return MlopsError(
        f"The Prefect server on {server} gives no turn to release, which is its concurrency limit '{name}': {reason}.",
        f"See that it runs and that PREFECT_API_URL names it. {again}",
    )


def _ensure_limit(name: str) -> None:
    with get_client(sync_client=True) as client:
        try:
            client.read_global_concurrency_limit_by_name(name)
        except ObjectNotFound:
            try:
                client.upsert_global_concurrency_limit_by_name(name, 1)
            except ObjectAlreadyExists:  # another flow has made it just now
                return
