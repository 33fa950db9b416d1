"""One replica: azureml-inference-server-http under gunicorn, in a process of its own, bound to loopback."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from pathlib import Path

import aiohttp

from emulator.child_processes import Process, tail, terminate
from emulator.services.container import ScoringContainer
from emulator.services.store import DeploymentError

log = logging.getLogger("emulator.services")

_SETTINGS = Path(__file__).with_name("gunicorn_settings.py")
_APPLICATION = "azureml_inference_server_http.server.entry:app"
_LEAST_THREADS = 4
_PROBE_PAUSE_SECONDS = 0.05
_LONGEST_START_PROBE_SECONDS = 3600.0  # start() has the deadline
_STOP_SECONDS = 10.0
_ABORT_SECONDS = 0.5  # for one that has served nobody yet
_LOG_LINES = 40


class Replica:
    """A process that serves one container. It can be started again after it has ended.

    Args:
        container: what it serves.
        log: gets what it prints.
        threads: how many requests it works on at a time, at least.
    """

    def __init__(self, container: ScoringContainer, log: Path, threads: int = 1) -> None:
        self.container = container
        self._threads = max(_LEAST_THREADS, threads)
        self.log = log
        self.url = ""
        self.ready = False
        self.in_flight = 0
        self._client: aiohttp.ClientSession | None = None
        self._process: Process | None = None
        self._started = time.monotonic()
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def pid(self) -> int:
        """Of gunicorn, whose child serves."""
        if self._process is None:
            raise LookupError("the replica has no process")
        return self._process.pid

    @property
    def age(self) -> float:
        """Seconds since it was last started."""
        return time.monotonic() - self._started

    @property
    def client(self) -> aiohttp.ClientSession:
        """Its connections. Idle ones are given up sooner than gunicorn does, and all of them before it is stopped:
        gunicorn would go on for seconds to wait for a request on them."""
        if self._client is None:
            connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=15)
            self._client = aiohttp.ClientSession(
                connector=connector, timeout=aiohttp.ClientTimeout(total=None), auto_decompress=False
            )
        return self._client

    async def start(self, seconds: float) -> None:
        """Start the process and return when it answers its health probe.

        The emulator binds the socket and passes it on: nobody can take the port in between, and the first probe
        waits in the socket's queue instead of being refused.

        Args:
            seconds: how long it may take.

        Raises:
            DeploymentError: it ended (the entry script failed) or was not healthy in time; it is stopped then.
        """
        self._started = time.monotonic()
        with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
            self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            # Accepted connections inherit it. gunicorn leaves it out for a socket that it is handed, and an answer in
            # two pieces then waits 40 ms for the acknowledgement of the first.
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            arguments = ["--config", str(_SETTINGS), "--threads", str(self._threads), _APPLICATION]
            self._process = await self.container.fork_server.launch(
                arguments, self.container.environment, self.container.root, self.log, listener
            )
        # Our copy of the socket is closed: when the process ends, connections are refused and not left waiting.
        ended = asyncio.ensure_future(self._process.wait())
        healthy = asyncio.ensure_future(self._probe_until_healthy())
        try:
            await asyncio.wait({ended, healthy}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if not healthy.done():
                raise self._failure(ended.result() if ended.done() else None, seconds)
            healthy.result()
            self.ready = True
            log.info("replica %s ready after %.2f s", self.log.stem, self.age)
        finally:
            for task in (ended, healthy):
                task.cancel()
            if not self.ready:
                await self.stop(_ABORT_SECONDS)

    async def _probe_until_healthy(self) -> None:
        while not await self.answers(_LONGEST_START_PROBE_SECONDS):
            await asyncio.sleep(_PROBE_PAUSE_SECONDS)

    def _failure(self, exit_code: int | None, seconds: float) -> DeploymentError:
        log_tail = tail(self.log, _LOG_LINES)
        if exit_code is not None:
            message = (
                f"The container ended with exit code {exit_code} before it was ready. Most often the entry script "
                "failed while it was imported or in init(): its log ends with the error."
            )
            return DeploymentError("DeployService", "CrashLoopBackOff", message, log_tail)
        message = (
            f"The container did not answer its health probe within {seconds:g} seconds: look for what init() waits for "
            "in its log, or give it longer (initial_delay_seconds of an AKS deployment configuration)."
        )
        return DeploymentError("DeployService", "ReadinessProbeFailed", message, log_tail)

    async def wait(self) -> int:
        """Wait until the process ends; gives its exit code."""
        if self._process is None:
            raise LookupError("the replica has no process")
        code = await self._process.wait()
        self.ready = False
        return code

    async def answers(self, seconds: float) -> bool:
        """Whether its health probe is answered with 200 in time."""
        try:
            async with self.client.get(f"{self.url}/", timeout=aiohttp.ClientTimeout(total=seconds)) as response:
                return response.status == 200
        except (aiohttp.ClientError, asyncio.TimeoutError):
            return False

    def begin_request(self) -> None:
        """A request is on its way to it: :meth:`drain` waits for that."""
        self.in_flight += 1
        self._idle.clear()

    def end_request(self) -> None:
        self.in_flight -= 1
        if self.in_flight == 0:
            self._idle.set()

    async def drain(self, seconds: float) -> None:
        """Take no new requests and wait until those on their way are answered, but no longer than ``seconds``."""
        self.ready = False
        try:
            await asyncio.wait_for(self._idle.wait(), seconds)
        except asyncio.TimeoutError:
            return

    async def stop(self, grace_seconds: float = _STOP_SECONDS) -> None:
        """Stop the process; requests on their way are broken unless :meth:`drain` has waited for them."""
        self.ready = False
        if self._client is not None:
            await self._client.close()
            self._client = None
        if self._process is not None:
            await terminate(self._process, grace_seconds)

    async def kill(self) -> None:
        """End a process that hangs; requests on their way are broken."""
        await self.stop(_ABORT_SECONDS)
