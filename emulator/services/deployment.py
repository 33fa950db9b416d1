"""The replicas of one container of a service: brought up together, kept up, scaled, balanced, drained."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from collections.abc import Callable
from pathlib import Path

from emulator.services.autoscaler import Autoscaler, DemandMeter
from emulator.services.configuration import ServingPolicy
from emulator.services.container import ScoringContainer
from emulator.services.liveness import Liveness
from emulator.services.replica import Replica
from emulator.services.store import DeploymentError

log = logging.getLogger("emulator.services")

_BACKOFF_SECONDS = (0.0, 1.0, 2.0, 5.0, 10.0, 30.0)
_STABLE_SECONDS = 60.0
_DRAIN_SECONDS = 60.0
_HOLD_SECONDS = 20.0


def backoff(failures: int) -> float:
    """Seconds to wait before a replica is started again that has ended ``failures`` times in a row."""
    return _BACKOFF_SECONDS[min(failures, len(_BACKOFF_SECONDS)) - 1]


class QueueTimeout(Exception):  # noqa: N818 - answered with 503
    """No replica could take a request in time; ``str()`` says why."""


class Deployment:
    """Replicas of one container, and the queue of the requests that wait for them.

    Args:
        container: what each of them serves.
        logs: the directory of their logs, one file each.
        policy: how they serve.
        changed: is called whenever a replica has become ready or has ended.
    """

    def __init__(
        self, container: ScoringContainer, logs: Path, policy: ServingPolicy, changed: Callable[[], None]
    ) -> None:
        self.policy = policy
        self._container = container
        self._logs = logs
        self._changed = changed
        self._replicas: dict[Replica, asyncio.Task[None]] = {}
        self._numbers = 0
        self._turn = 0
        self._waiting: deque[asyncio.Future[Replica | None]] = deque()
        self._closed = False
        self._meter = DemandMeter(asyncio.get_running_loop().time())
        self._scaling = asyncio.Lock()
        self._autoscaler: asyncio.Task[None] | None = None

    @property
    def ready(self) -> bool:
        return any(replica.ready for replica in self._replicas)

    @property
    def count(self) -> int:
        return len(self._replicas)

    def adopt(self, policy: ServingPolicy) -> None:
        """Serve by another policy from now on; :meth:`scale` makes the number of replicas match."""
        former, self.policy = self.policy, policy
        if former.scaling != policy.scaling and self._autoscaler is not None:
            self._autoscaler.cancel()
            self._autoscaler = None
        self._keep_scaled()
        self._serve_waiting()

    async def acquire(self) -> Replica | None:
        """A replica that may be sent a request; :meth:`release` it afterwards.

        Requests wait in the order in which they came: as long as the policy says for one that is not busy, and longer
        for one that is being started again. Returns ``None`` when this deployment has been given a successor.

        Raises:
            QueueTimeout: it took too long.
        """
        if self._closed:
            return None
        replica = self._free()
        if replica is not None:
            self._take(replica)
            return replica
        seconds = self.policy.queue_seconds if self.ready else _HOLD_SECONDS
        turn: asyncio.Future[Replica | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._measure()
        try:
            await asyncio.wait((turn,), timeout=seconds)
        except asyncio.CancelledError:
            self._leave_queue(turn)
            raise
        if turn.done():
            return turn.result()
        self._leave_queue(turn)
        raise QueueTimeout(
            f"its {self.count} replicas were busy for {seconds:g} seconds"
            if self.ready
            else f"none of its replicas was healthy for {seconds:g} seconds"
        )

    def release(self, replica: Replica) -> None:
        """The request that ``replica`` was acquired for is over."""
        replica.end_request()
        self._serve_waiting()

    async def scale(self, count: int) -> None:
        """Bring replicas up, or drain and stop some, until there are ``count``.

        Raises:
            DeploymentError: one of the new ones does not get ready; then none of them is kept.
        """
        async with self._scaling:
            surplus = list(self._replicas)[count:]
            await asyncio.gather(*(self._retire(replica) for replica in surplus))
            await self._add(count - len(self._replicas))
        self._keep_scaled()

    async def drain(self) -> None:
        """Let every request on its way be answered, then stop. Those in the queue go to the successor."""
        await self._close()
        await asyncio.gather(*(self._retire(replica) for replica in list(self._replicas)))

    async def stop(self) -> None:
        """Stop all replicas now."""
        await self._close()
        replicas = list(self._replicas)
        for replica in replicas:
            self._replicas.pop(replica).cancel()
        await asyncio.gather(*(replica.stop() for replica in replicas))

    def _free(self) -> Replica | None:
        """Of the replicas that may take a request, the least busy one; among equals, the one whose turn it is."""
        limit = self.policy.max_concurrent
        replicas = list(self._replicas)
        self._turn += 1
        start = self._turn % len(replicas) if replicas else 0
        free = [
            replica
            for replica in replicas[start:] + replicas[:start]
            if replica.ready and (limit is None or replica.in_flight < limit)
        ]
        return min(free, key=lambda replica: replica.in_flight, default=None)

    def _take(self, replica: Replica) -> None:
        replica.begin_request()
        self._measure()

    def _serve_waiting(self) -> None:
        while self._waiting:
            replica = self._free()
            if replica is None:
                break
            self._take(replica)
            self._waiting.popleft().set_result(replica)
        self._measure()

    def _leave_queue(self, turn: asyncio.Future[Replica | None]) -> None:
        if not turn.done():
            self._waiting.remove(turn)
            self._measure()
        elif (replica := turn.result()) is not None:
            self.release(replica)

    def _measure(self) -> None:
        requests = len(self._waiting) + sum(replica.in_flight for replica in self._replicas)
        now = asyncio.get_running_loop().time()
        self._meter.change(requests / (self.policy.max_concurrent or 1), now)

    async def _add(self, count: int) -> None:
        fresh = []
        threads = (self.policy.max_concurrent or 0) + 1  # one of them for the liveness probe
        for _ in range(count):
            self._numbers += 1
            fresh.append(Replica(self._container, self._logs / f"replica-{self._numbers}.log", threads))
        starts = [asyncio.ensure_future(replica.start(self.policy.start_seconds)) for replica in fresh]
        try:
            await asyncio.gather(*starts)
        except BaseException:
            for start in starts:
                start.cancel()
            await asyncio.gather(*starts, return_exceptions=True)
            await asyncio.gather(*(replica.stop() for replica in fresh))
            raise
        for replica in fresh:
            self._replicas[replica] = asyncio.create_task(self._keep_up(replica))
        self._container.fork_server.warm_up()
        self._note_change()

    def _note_change(self) -> None:
        self._serve_waiting()
        self._changed()

    async def _keep_up(self, replica: Replica) -> None:
        loop, failures = asyncio.get_running_loop(), 0
        while True:
            started = loop.time()
            reason = await self._until_it_fails(replica)
            self._note_change()
            while not replica.ready:
                failures = 1 if loop.time() - started > _STABLE_SECONDS else failures + 1
                seconds = backoff(failures)
                log.warning("%s: %s, started again in %g s", replica.log, reason, seconds)
                await asyncio.sleep(seconds)
                started = loop.time()
                try:
                    await replica.start(self.policy.start_seconds)
                except (DeploymentError, OSError) as failure:
                    reason = str(failure)
            self._note_change()

    async def _until_it_fails(self, replica: Replica) -> str:
        ended = asyncio.ensure_future(replica.wait())
        hangs = asyncio.ensure_future(self._probe(replica))
        try:
            await asyncio.wait({ended, hangs}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            hangs.cancel()
            ended.cancel()
        has_ended = ended.done() and not ended.cancelled()
        await replica.kill()  # also what its process has left behind
        return f"the process ended ({ended.result()})" if has_ended else "the liveness probe failed"

    async def _probe(self, replica: Replica) -> None:
        """Returns when the replica hangs."""
        liveness = Liveness()
        while (probe := self.policy.probe) is not None:
            early = probe.initial_delay - replica.age
            if early > 0:
                await asyncio.sleep(min(probe.period, early))
            elif liveness.hangs(await replica.answers(probe.timeout), probe):
                return
            else:
                await asyncio.sleep(probe.period)
        await asyncio.Event().wait()

    def _keep_scaled(self) -> None:
        if self._autoscaler is None and self.policy.scaling is not None and not self._closed:
            self._autoscaler = asyncio.create_task(self._autoscale())

    async def _autoscale(self) -> None:
        scaling, loop = self.policy.scaling, asyncio.get_running_loop()
        if scaling is None:
            return
        autoscaler = Autoscaler(scaling, os.cpu_count() or 1)
        self._meter.mean(loop.time())
        while True:
            await asyncio.sleep(scaling.refresh_seconds)
            wanted = autoscaler.replicas(self._meter.mean(loop.time()), self.count)
            if wanted == self.count:
                continue
            log.info("%s: from %d to %d replicas", self._logs, self.count, wanted)
            try:
                await self.scale(wanted)
            except (DeploymentError, OSError) as failure:
                log.warning("%s: not scaled to %d replicas: %s", self._logs, wanted, failure)

    async def _close(self) -> None:
        self._closed = True
        while self._waiting:
            self._waiting.popleft().set_result(None)
        if self._autoscaler is not None:
            self._autoscaler.cancel()
            await asyncio.gather(self._autoscaler, return_exceptions=True)

    async def _retire(self, replica: Replica) -> None:
        self._replicas.pop(replica).cancel()
        try:
            await replica.drain(_DRAIN_SECONDS)
        finally:  # also when the emulator stops meanwhile
            await replica.stop()
