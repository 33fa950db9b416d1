"""The replicas of one revision of a service: brought up together, kept up, balanced, drained."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from emulator.services.container import ScoringContainer
from emulator.services.replica import Replica
from emulator.services.store import DeploymentError

log = logging.getLogger("emulator.services")

_BACKOFF_SECONDS = (0.0, 1.0, 2.0, 5.0, 10.0, 30.0)
_STABLE_SECONDS = 60.0
_DRAIN_SECONDS = 60.0


def backoff(failures: int) -> float:
    """Seconds to wait before a replica is started again that has ended ``failures`` times in a row."""
    return _BACKOFF_SECONDS[min(failures, len(_BACKOFF_SECONDS)) - 1]


class Deployment:
    """Replicas of one container.

    Args:
        container: what each of them serves.
        logs: the directory of their logs, one file each.
        start_seconds: how long a replica may take to be ready.
        changed: is called whenever a replica has become ready or has ended.
    """

    def __init__(
        self,
        container: ScoringContainer,
        logs: Path,
        start_seconds: float,
        changed: Callable[[], None],
    ) -> None:
        self._container = container
        self._logs = logs
        self._start_seconds = start_seconds
        self._changed = changed
        self._replicas: dict[Replica, asyncio.Task[None]] = {}
        self._numbers = 0
        self._turn = 0

    @property
    def ready(self) -> bool:
        return any(replica.ready for replica in self._replicas)

    def pick(self) -> Replica | None:
        """The replica whose turn it is, of those that are ready."""
        ready = [replica for replica in self._replicas if replica.ready]
        if not ready:
            return None
        self._turn += 1
        return ready[self._turn % len(ready)]

    async def scale(self, count: int) -> None:
        """Bring replicas up, or drain and stop some, until there are ``count``.

        Raises:
            DeploymentError: one of the new ones does not get ready; then none of them is kept.
        """
        surplus = list(self._replicas)[count:]
        await asyncio.gather(*(self._retire(replica) for replica in surplus))
        fresh = []
        for _ in range(count - len(self._replicas)):
            self._numbers += 1
            fresh.append(Replica(self._container, self._logs / f"replica-{self._numbers}.log"))
        starts = [asyncio.ensure_future(replica.start(self._start_seconds)) for replica in fresh]
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
        self._changed()

    async def _keep_up(self, replica: Replica) -> None:
        loop, failures = asyncio.get_running_loop(), 0
        while True:
            started = loop.time()
            code = await replica.wait()
            self._changed()
            while not replica.ready:
                failures = 1 if loop.time() - started > _STABLE_SECONDS else failures + 1
                seconds = backoff(failures)
                log.warning("%s: the process ended (%s), started again in %g s", replica.log, code, seconds)
                await asyncio.sleep(seconds)
                started = loop.time()
                try:
                    await replica.start(self._start_seconds)
                except (DeploymentError, OSError) as failure:
                    log.warning("%s: %s", replica.log, failure)
            self._changed()

    async def _retire(self, replica: Replica) -> None:
        self._replicas.pop(replica).cancel()
        try:
            await replica.drain(_DRAIN_SECONDS)
        finally:  # also when the emulator stops meanwhile
            await replica.stop()

    async def drain(self) -> None:
        """Let every request on its way be answered, then stop."""
        await asyncio.gather(*(self._retire(replica) for replica in list(self._replicas)))

    async def stop(self) -> None:
        """Stop all replicas now."""
        replicas = list(self._replicas)
        for replica in replicas:
            self._replicas.pop(replica).cancel()
        await asyncio.gather(*(replica.stop() for replica in replicas))
