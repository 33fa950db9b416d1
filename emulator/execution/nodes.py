"""The nodes of compute targets: who has one, who waits for one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from emulator.state import State

_FOREVER = 365 * 24 * 3600.0  # seconds


class NodePool:
    """One cluster's nodes, given out first come, first served.

    Args:
        state: whose changes (a larger cluster, a run that has ended) let the next one try.
        max_nodes: how many the cluster may have now; 0 when it is gone.
    """

    def __init__(self, state: State, max_nodes: Callable[[], int]) -> None:
        self._state = state
        self._max_nodes = max_nodes
        self._waiting: list[str] = []
        self._in_use: set[str] = set()

    @property
    def in_use(self) -> int:
        return len(self._in_use)

    @asynccontextmanager
    async def node(self, run_id: str) -> AsyncIterator[None]:
        """A node for a run: waits for its turn, holds it, gives it back."""
        self._waiting.append(run_id)
        try:
            while not await self._state.wait_for(lambda: self._is_next(run_id), _FOREVER):
                continue
            self._in_use.add(run_id)
        finally:
            self._waiting.remove(run_id)
            self._state.notify()
        try:
            yield
        finally:
            self._in_use.remove(run_id)
            self._state.notify()

    def _is_next(self, run_id: str) -> bool:
        return self._waiting[0] == run_id and len(self._in_use) < self._max_nodes()
