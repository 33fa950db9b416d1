"""The scoring front end: one HTTP port for all services, in front of their replicas."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import aiohttp
from aiohttp import web

from emulator.errors import ServiceError
from emulator.services.access import Access
from emulator.services.deployment import Deployment
from emulator.services.replica import Replica
from emulator.state import State

LARGEST_REQUEST = 256 << 20  # bytes
_HOLD_SECONDS = 20.0
_RETRY_AFTER_SECONDS = 5
_ATTEMPTS = 3
_RETRY_SECONDS = 0.05
# Between two hops only (RFC 9110, 7.6.1), and the service's key, which is nothing to the entry script.
_NOT_FORWARDED = frozenset(
    (
        "authorization",
        "connection",
        "content-length",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)
_NOT_RETURNED = frozenset(("connection", "content-length", "date", "keep-alive", "server", "transfer-encoding"))
_NOT_ADDED = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
_PATHS = frozenset(("", "score", "swagger.json"))


@dataclass
class ServedService:
    """What the router knows of one service.

    Attributes:
        access: who may score.
        timeout_seconds: of one call; ``None`` is as long as it takes.
        deployment: what serves; ``None`` before anything does.
        awaited: its first replicas are on their way.
    """

    access: Access
    timeout_seconds: float | None
    deployment: Deployment | None = None
    awaited: bool = False

    @property
    def ready(self) -> bool:
        return self.deployment is not None and self.deployment.ready

    @property
    def expects_replicas(self) -> bool:
        """Whether there is something to wait for: a deployment starts replicas again that have ended."""
        return self.awaited or self.deployment is not None


class Router:
    """Finds the service, checks its key, picks a replica and passes request and answer on as they are."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._services: dict[tuple[str, str], ServedService] = {}

    def find(self, workspace: str, name: str) -> ServedService | None:
        return self._services.get((workspace.lower(), name))

    def all(self) -> list[ServedService]:
        return list(self._services.values())

    def publish(self, workspace: str, name: str, access: Access, timeout_seconds: float | None) -> ServedService:
        """Add a service, or change who may score and how long that may take."""
        served = self.find(workspace, name)
        if served is None:
            served = self._services[(workspace.lower(), name)] = ServedService(access, timeout_seconds)
        served.access, served.timeout_seconds = access, timeout_seconds
        return served

    def remove(self, workspace: str, name: str) -> ServedService | None:
        return self._services.pop((workspace.lower(), name), None)

    def app(self) -> web.Application:
        app = web.Application(client_max_size=LARGEST_REQUEST)
        app.router.add_route("*", "/{workspace}/api/v1/service/{service}/{path:.*}", self._handle)
        app.router.add_route("*", "/{path:.*}", self._unknown)
        return app

    async def _unknown(self, request: web.Request) -> web.Response:
        return _refusal(ServiceError(404, "NotFound", f"{request.path} is not the path of a web service."))

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        try:
            return await self._forward(request)
        except ServiceError as error:
            return _refusal(error)

    async def _forward(self, request: web.Request) -> web.Response:
        match = request.match_info
        name, path = match["service"], match["path"]
        service = self.find(match["workspace"], name)
        if service is None or path not in _PATHS:
            raise ServiceError(404, "NotFound", f"{request.path} is not the path of a web service.")
        if path and not service.access.allows(request.headers.get("Authorization")):
            raise ServiceError(
                401,
                "Unauthorized",
                f"Web service '{name}' wants one of its keys or tokens: Authorization: Bearer <key>.",
            )
        body = await request.read()
        try:
            return await asyncio.wait_for(self._score(request, name, service, path, body), service.timeout_seconds)
        except asyncio.TimeoutError as error:
            raise ServiceError(
                504,
                "ScoringTimeout",
                f"Web service '{name}' did not answer within {service.timeout_seconds:g} seconds.",
            ) from error

    async def _score(
        self, request: web.Request, name: str, service: ServedService, path: str, body: bytes
    ) -> web.Response:
        headers = {key: value for key, value in request.headers.items() if key.lower() not in _NOT_FORWARDED}
        suffix = f"/{path}?{request.query_string}" if request.query_string else f"/{path}"
        for _ in range(_ATTEMPTS):
            replica = await self._replica(service)
            if replica is None:
                break
            try:
                with replica.request():
                    async with replica.client.request(
                        request.method,
                        replica.url + suffix,
                        data=body or None,
                        headers=headers,
                        skip_auto_headers=_NOT_ADDED,
                        allow_redirects=False,
                    ) as response:
                        answer = await response.read()
            except aiohttp.ClientConnectionError:
                # The replica went away before it answered. Scoring is asked for again: like Azure's front end, this
                # takes entry scripts for idempotent. The pause lets the end of its process be noticed first.
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            except aiohttp.ClientPayloadError as error:
                raise ServiceError(
                    502, "BadGateway", f"A replica of web service '{name}' ended in the middle of its answer."
                ) from error
            returned = [(key, value) for key, value in response.headers.items() if key.lower() not in _NOT_RETURNED]
            return web.Response(status=response.status, body=answer, headers=returned)
        raise ServiceError(
            503, "ServiceUnavailable", f"No replica of web service '{name}' is healthy. Try again later."
        )

    async def _replica(self, service: ServedService) -> Replica | None:
        """One that is ready; a request waits a while for replicas that are on their way."""
        if not service.ready:
            await self._state.wait_for(lambda: service.ready or not service.expects_replicas, _HOLD_SECONDS)
        return None if service.deployment is None else service.deployment.pick()


def _refusal(error: ServiceError) -> web.Response:
    headers = {"Retry-After": str(_RETRY_AFTER_SECONDS)} if error.status == 503 else None
    return web.json_response(error.payload(), status=error.status, headers=headers)
