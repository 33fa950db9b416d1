"""Load: a service is asked again and again, and what its callers would see is measured."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from settings.deployment import EndpointTestSettings, LoadObjectives, LoadSettings
from settings.workspace import WorkspaceTarget
from tasks.endpoint_tests import json_file, request_headers
from tasks.operation import azure_operation
from tasks.progress import report
from tasks.values import Endpoint, Load

_SHOWN_CHARACTERS = 200


@dataclass(frozen=True)
class Asked:
    """An address, and what is sent there with every request.

    Attributes:
        headers: with the key that opens the service.
        body: JSON.
        timeout_seconds: after which a request counts as an error.
    """

    address: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes
    timeout_seconds: float


@dataclass
class _Seen:
    """What came back from one address."""

    milliseconds: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


def ask_in_turn(
    asked: Mapping[str, Asked],
    requests: int,
    seconds: float,
    concurrency: int = 1,
    per_second: float | None = None,
) -> dict[str, Load]:
    """Ask several addresses in turn, so that whatever else the machines do meets all of them alike.

    Args:
        requests: to each address, at most.
        seconds: at most; the first bound that is reached ends it, but each address is asked once at least.
        concurrency: callers, each of which asks one request after the other.
        per_second: requests a second to each address, at most.
    """
    return asyncio.run(_ask_in_turn(asked, requests, seconds, concurrency, per_second))


async def _ask_in_turn(
    asked: Mapping[str, Asked], requests: int, seconds: float, concurrency: int, per_second: float | None
) -> dict[str, Load]:
    import aiohttp

    seen = {name: _Seen() for name in asked}
    rounds = iter(range(requests))
    started = time.monotonic()
    pause = 1 / per_second if per_second else 0.0

    async def ask(session: aiohttp.ClientSession, call: Asked, into: _Seen) -> None:
        timeout = aiohttp.ClientTimeout(total=call.timeout_seconds)
        sent = time.perf_counter()
        try:
            async with session.post(
                call.address, data=call.body, headers=dict(call.headers), timeout=timeout
            ) as answer:
                text = await answer.text(errors="replace")
                if answer.status != 200:
                    into.errors.append(f"HTTP {answer.status}: {text[:_SHOWN_CHARACTERS].strip()}")
        except (aiohttp.ClientError, asyncio.TimeoutError) as error:
            into.errors.append(f"no answer: {error or type(error).__name__}")
        into.milliseconds.append((time.perf_counter() - sent) * 1000)

    async def call_until_the_end(session: aiohttp.ClientSession) -> None:
        for number in rounds:  # one iterator for all callers: together they make the wanted number
            early = started + number * pause - time.monotonic()
            if early > 0:
                await asyncio.sleep(early)
            for name, call in asked.items():
                await ask(session, call, seen[name])
            if time.monotonic() - started >= seconds:
                break

    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, trust_env=True) as session:
        await asyncio.gather(*(call_until_the_end(session) for _ in range(concurrency)))
    took = time.monotonic() - started
    return {name: _load(found, took) for name, found in seen.items()}


def _load(seen: _Seen, seconds: float) -> Load:
    latencies = sorted(seen.milliseconds)
    return Load(
        requests=len(latencies),
        seconds=round(seconds, 3),
        error_rate=len(seen.errors) / len(latencies),
        requests_per_second=round((len(latencies) - len(seen.errors)) / seconds, 2),
        p50_ms=_percentile(latencies, 50),
        p95_ms=_percentile(latencies, 95),
        p99_ms=_percentile(latencies, 99),
        first_error=seen.errors[0] if seen.errors else None,
    )


def _percentile(ascending: Sequence[float], percent: int) -> float:
    """The nearest rank: the least value that so many percent of all do not exceed."""
    return round(ascending[math.ceil(len(ascending) * percent / 100) - 1], 2)


def unmet(load: Load, objectives: LoadObjectives) -> Iterator[str]:
    """The objectives that were missed, one sentence each with the numbers."""
    for name in ("p50", "p95", "p99"):
        most, measured = getattr(objectives, f"latency_{name}_ms"), getattr(load, f"{name}_ms")
        if most is not None and measured > most:
            yield f"{name} was {measured:g} ms, and {most:g} ms is the objective"
    fewest = objectives.min_requests_per_second
    if fewest is not None and load.requests_per_second < fewest:
        yield f"{load.requests_per_second:g} requests a second were answered, and {fewest:g} is the objective"
    if objectives.max_error_rate is not None and load.error_rate > objectives.max_error_rate:
        yield (
            f"{load.error_rate:.2%} of the requests were errors, and {objectives.max_error_rate:.2%} is the objective "
            f"(the first: {load.first_error})"
        )


def wanted(objectives: LoadObjectives) -> bool:
    """Whether there is a load test: an objective is set."""
    return any(value is not None for _, value in objectives)


def load_service(target: WorkspaceTarget, tests: EndpointTestSettings, load: LoadSettings, endpoint: Endpoint) -> Load:
    """Load a service with the sample request, and measure.

    Raises:
        EndpointTestError: the sample is not there, or the keys cannot be read. What is slow or fails is no exception
            but a value.
    """
    body = json_file(Path(tests.source_directory) / tests.sample)
    asked = Asked(endpoint.scoring_uri, request_headers(target, endpoint), body, tests.timeout_seconds)
    measured = ask_in_turn({"": asked}, load.requests, load.seconds, load.concurrency)[""]
    report(f"p95 {measured.p95_ms:g} ms, {measured.requests_per_second:g} requests/s")
    return measured


load_service_task = azure_operation("load test", lasting=True)(load_service)
