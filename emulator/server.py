"""The emulator's own process: one HTTPS port for every service of Azure, one HTTP port for scoring."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import web

from emulator.artifacts.routes import ArtifactsService
from emulator.certificates import ensure_certificates, server_context
from emulator.content.routes import ContentService
from emulator.datasets.routes import DatasetsService
from emulator.discovery.routes import DiscoveryService
from emulator.environments.routes import EnvironmentsService
from emulator.errors import ServiceError
from emulator.execution.routes import ExecutionService
from emulator.history.routes import HistoryService
from emulator.hyperdrive.routes import HyperDriveService
from emulator.identity.routes import IdentityService
from emulator.listeners import HOST, bind_as_before
from emulator.management.routes import ManagementService
from emulator.management.store import check_subscription
from emulator.metrics.routes import MetricsService
from emulator.models.routes import ModelsService
from emulator.operator.routes import OperatorService
from emulator.profiles.routes import ProfilesService
from emulator.routing import Request, RouteTable
from emulator.services.routes import ServicesService
from emulator.state import State
from emulator.storage.routes import StorageService

log = logging.getLogger("emulator")

_LARGEST_BODY = 1 << 30  # bytes; blobs are streamed, so this bounds snapshots and multipart forms only


class Emulator:
    """All services over one state directory. Each reaches the others through its attributes."""

    def __init__(self, state: State, port: int, scoring_port: int) -> None:
        self.state = state
        self.host = f"{HOST}:{port}"
        self.url = f"https://{self.host}"
        self.scoring_url = f"http://{HOST}:{scoring_port}"
        self.ca_bundle = state.directory / "tls" / "bundle.pem"
        self.identity = IdentityService(self)
        self.management = ManagementService(self)
        self.discovery = DiscoveryService(self)
        self.storage = StorageService(self)
        self.history = HistoryService(self)
        self.metrics = MetricsService(self)
        self.artifacts = ArtifactsService(self)
        self.content = ContentService(self)
        self.environments = EnvironmentsService(self)
        self.execution = ExecutionService(self)
        self.hyperdrive = HyperDriveService(self)
        self.models = ModelsService(self)
        self.datasets = DatasetsService(self)
        self.profiles = ProfilesService(self)
        self.services = ServicesService(self)
        self.operator = OperatorService(self)
        self.all_services = (
            self.identity,
            self.management,
            self.discovery,
            self.storage,
            self.history,
            self.metrics,
            self.artifacts,
            self.content,
            self.environments,
            self.execution,
            self.hyperdrive,
            self.models,
            self.datasets,
            self.profiles,
            self.services,
            self.operator,
        )
        self._table = RouteTable(route for service in self.all_services for route in service.routes())

    async def start(self) -> None:
        for service in self.all_services:
            await service.start()

    async def stop(self) -> None:
        for service in reversed(self.all_services):
            await service.stop()

    async def handle(self, http: web.Request) -> web.StreamResponse:
        """Find the route, check the token, look subscription and workspace up, call the handler."""
        route, params = self._table.find(http.method, http.raw_path)
        if not route.open:
            self.identity.verify(http.headers.get("Authorization"))
        if "subscription" in params:
            check_subscription(params["subscription"])
        scope = None
        if "workspace" in params and route.workspace_must_exist:
            scope = self.management.store.workspace(params["resource_group"], params["workspace"])
        return await route.handler(Request(http, params, scope))


@web.middleware
async def _answer_errors_and_log(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    path = request.rel_url.raw_path  # never the query: it carries signatures
    started = time.perf_counter()
    try:
        response = await handler(request)
    except ServiceError as error:
        response = web.json_response(error.payload(), status=error.status)
    except web.HTTPException as error:  # aiohttp's own, such as 413 for a body that is too large
        response = web.json_response(
            ServiceError(error.status, error.reason, error.reason).payload(), status=error.status
        )
    except asyncio.CancelledError:
        raise
    except Exception:
        log.exception("%s %s failed", request.method, path)
        fault = ServiceError(
            500, "InternalServerError", "The emulator failed to answer; `python -m emulator logs` says why."
        )
        response = web.json_response(fault.payload(), status=500)
    log.info("%s %s %d %.0f ms", request.method, path, response.status, (time.perf_counter() - started) * 1000)
    return response


async def serve(state_directory: Path, port: int | None, ready: Callable[[Emulator], None]) -> None:
    """Run the emulator until SIGTERM or SIGINT.

    Args:
        state_directory: where everything is kept.
        port: of HTTPS; ``None`` takes last time's, or a free one.
        ready: called once when every service answers.

    Raises:
        StartupError: the state or the port cannot be used.
    """
    state = State(state_directory)
    ensure_certificates(state_directory / "tls")
    listener = bind_as_before(state, "https", port)
    scoring_listener = bind_as_before(state, "scoring")
    emulator = Emulator(state, listener.getsockname()[1], scoring_listener.getsockname()[1])

    app = web.Application(middlewares=[_answer_errors_and_log], client_max_size=_LARGEST_BODY)
    app.router.add_route("*", "/{path:.*}", emulator.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=2)
    await runner.setup()
    await web.SockSite(runner, listener, ssl_context=server_context(state_directory / "tls")).start()

    scoring = web.AppRunner(emulator.services.scoring_app(), access_log=None, shutdown_timeout=2)
    await scoring.setup()
    await web.SockSite(scoring, scoring_listener).start()

    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    try:
        await emulator.start()
        log.info("ready on %s, state in %s", emulator.url, state_directory)
        ready(emulator)
        await stopped.wait()
        log.info("stopping")
    finally:
        await emulator.stop()
        state.end_waits()
        await scoring.cleanup()
        await runner.cleanup()
        state.close()
