"""Puts a replica under load with sample requests, and watches what its processes use meanwhile."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import aiohttp
import psutil

from emulator.services.replica import Replica

_SECONDS = 0.75
_CLIENTS = 2
_SAMPLE_SECONDS = 0.25
_LONGEST_REQUEST_SECONDS = 60.0
_GIGABYTE = 1 << 30


@dataclass
class Measurement:
    """What a load has shown.

    Attributes:
        latencies: of the answered requests, milliseconds.
        failures: what came instead of an answer.
        seconds: how long the load lasted.
        max_cpu: cores, at most, over a quarter of a second.
        max_memory_gb: resident memory of all processes of the replica, at most.
    """

    latencies: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0
    max_cpu: float = 0.0
    max_memory_gb: float = 0.0

    @property
    def total(self) -> int:
        return len(self.latencies) + len(self.failures)


async def _ask(replica: Replica, row: str, measurement: Measurement) -> None:
    loop = asyncio.get_running_loop()
    started = loop.time()
    try:
        async with replica.client.post(
            f"{replica.url}/score",
            data=row.encode(),
            headers={"Content-Type": "application/json"},
            timeout=aiohttp.ClientTimeout(total=_LONGEST_REQUEST_SECONDS),
        ) as response:
            answer = await response.text()
    except (aiohttp.ClientError, asyncio.TimeoutError) as error:
        measurement.failures.append(repr(error))
        return
    if response.status == 200:
        measurement.latencies.append((loop.time() - started) * 1000)
    else:
        measurement.failures.append(f"{response.status} {answer[:200]}")


async def _send(replica: Replica, rows: Iterator[str], until: float, measurement: Measurement) -> None:
    loop = asyncio.get_running_loop()
    while True:
        await _ask(replica, next(rows), measurement)
        if loop.time() >= until:
            return


def _usage(processes: Sequence[psutil.Process]) -> tuple[float, float]:
    """CPU seconds so far and resident gigabytes now.

    What the processes share, which is what they were forked with, counts once.
    """
    cpu, own, shared = 0.0, 0, 0
    for process in processes:
        with process.oneshot():
            times, memory = process.cpu_times(), process.memory_full_info()
            cpu += times.user + times.system
            own += memory.uss
            shared = max(shared, memory.rss - memory.uss)
    return cpu, (own + shared) / _GIGABYTE


async def _watch(processes: Sequence[psutil.Process], measurement: Measurement) -> None:
    loop = asyncio.get_running_loop()
    cpu, _ = _usage(processes)
    then = loop.time()
    while True:
        await asyncio.sleep(_SAMPLE_SECONDS)
        used, memory = _usage(processes)
        now = loop.time()
        measurement.max_cpu = max(measurement.max_cpu, (used - cpu) / (now - then))
        measurement.max_memory_gb = max(measurement.max_memory_gb, memory)
        cpu, then = used, now


async def put_under_load(replica: Replica, rows: Sequence[str]) -> Measurement:
    """Send the rows over and over for three quarters of a second from two clients; each sends one at least.

    Args:
        replica: ready, and nobody else's.
        rows: bodies of requests.

    Raises:
        psutil.Error: a process of the replica has ended.
    """
    loop = asyncio.get_running_loop()
    gunicorn = psutil.Process(replica.pid)
    processes = [gunicorn, *gunicorn.children(recursive=True)]
    measurement = Measurement()
    endless = itertools.cycle(rows)
    watch = asyncio.create_task(_watch(processes, measurement))
    started = loop.time()
    try:
        await asyncio.gather(*(_send(replica, endless, started + _SECONDS, measurement) for _ in range(_CLIENTS)))
        measurement.seconds = loop.time() - started
        if watch.done():
            watch.result()
    finally:
        watch.cancel()
    return measurement
