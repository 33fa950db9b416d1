"""The nodes of compute targets: how many there are, who has them, who waits for them."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal

from emulator.errors import ServiceError
from emulator.management.scaling import Scale
from emulator.state import State

_FOREVER = 365 * 24 * 3600.0  # seconds

NodeState = Literal["idle", "running"]


@dataclass
class Node:
    """One node. ``run_id``: the run that has it; ``idle_since``: when it got without one, in monotonic seconds."""

    id: str
    run_id: str | None = None
    idle_since: float = 0.0

    @property
    def state(self) -> NodeState:
        return "idle" if self.run_id is None else "running"


@dataclass(frozen=True)
class NodeCounts:
    """What ``AmlCompute.get_status().node_state_counts`` shows."""

    idle: int
    running: int
    preempted: int


@dataclass
class Allocation:
    """The nodes of one run. ``lost`` is set when they are taken away from it."""

    run_id: str
    count: int
    lost: asyncio.Event = field(default_factory=asyncio.Event)


def kept_nodes(nodes: list[Node], scale: Scale, now: float) -> list[Node]:
    """The nodes that are still there at ``now``: those at work, and of the idle ones those that have not been idle for
    too long or that make up the minimum, never more than the maximum."""
    kept = [node for node in nodes if node.run_id is not None]
    idle = sorted((node for node in nodes if node.run_id is None), key=lambda node: node.idle_since, reverse=True)
    for node in idle:
        young = now - node.idle_since < scale.idle_seconds
        if len(kept) < scale.maximum and (young or len(kept) < scale.minimum):
            kept.append(node)
    return kept


class NodePool:
    """One compute target's nodes, given out first come, first served.

    Nodes are started when a run needs them and when there are fewer than the minimum, and leave when they have been
    idle for too long. Nothing happens in between: whoever looks brings the pool up to date.

    Args:
        state: whose changes (a larger cluster, a run that has ended) let the next one try.
        scale: the limits as they are now; ``None`` when the compute target is gone.
    """

    def __init__(self, state: State, scale: Callable[[], Scale | None]) -> None:
        self._state = state
        self._find_scale = scale
        self._numbers = itertools.count(1)
        self._nodes: list[Node] = []
        self._waiting: list[str] = []
        self._allocations: list[Allocation] = []
        self._preempted = 0

    def nodes(self) -> list[Node]:
        """The nodes that there are now."""
        scale = self._scale()
        self._nodes = kept_nodes(self._nodes, scale, time.monotonic())
        while len(self._nodes) < min(scale.minimum, scale.maximum):
            self._nodes.append(self._start_node())
        return list(self._nodes)

    def counts(self) -> NodeCounts:
        states = [node.state for node in self.nodes()]
        return NodeCounts(states.count("idle"), states.count("running"), self._preempted)

    @asynccontextmanager
    async def take(self, run_id: str, count: int) -> AsyncIterator[Allocation]:
        """Nodes for a run: waits for its turn, holds them, gives them back.

        Raises:
            ServiceError: 404 when the compute target is deleted while the run waits.
        """
        self._waiting.append(run_id)
        try:
            while not await self._state.wait_for(lambda: self._is_next(run_id, count), _FOREVER):
                continue
            if self._find_scale() is None:
                raise ServiceError(404, "ResourceNotFound", f"The compute target of run '{run_id}' was deleted.")
            allocation = self._allocate(run_id, count)
        finally:
            self._waiting.remove(run_id)
            self._state.notify()
        try:
            yield allocation
        finally:
            self._allocations.remove(allocation)
            for node in self._nodes:
                if node.run_id == run_id:
                    node.run_id, node.idle_since = None, time.monotonic()
            self._state.notify()

    def preempt(self) -> list[str]:
        """Take the nodes of every run away; returns the runs' ids."""
        self._preempted = sum(node.run_id is not None for node in self._nodes)
        self._nodes = [node for node in self._nodes if node.run_id is None]
        for allocation in self._allocations:
            allocation.lost.set()
        return [allocation.run_id for allocation in self._allocations]

    def _scale(self) -> Scale:
        return self._find_scale() or Scale(0, 0, 0)

    def _start_node(self) -> Node:
        return Node(f"tvm-{next(self._numbers):04d}", idle_since=time.monotonic())

    def _is_next(self, run_id: str, count: int) -> bool:
        if self._find_scale() is None:
            return True  # nothing to wait for
        at_work = sum(node.run_id is not None for node in self._nodes)
        return self._waiting[0] == run_id and at_work + count <= self._scale().maximum

    def _allocate(self, run_id: str, count: int) -> Allocation:
        idle = [node for node in self.nodes() if node.run_id is None][:count]
        started = [self._start_node() for _ in range(count - len(idle))]
        self._nodes += started
        self._preempted = max(0, self._preempted - len(started))
        for node in idle + started:
            node.run_id = run_id
        allocation = Allocation(run_id, count)
        self._allocations.append(allocation)
        return allocation
