"""The scoring front end: one HTTP port for all services without TLS, in front of their replicas."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web

from emulator.errors import ServiceError
from emulator.services.access import Access
from emulator.services.deployment import Deployment, QueueTimeout
from emulator.services.traffic import TrafficSplit
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
_FRONT_END = web.AppKey("front_end", str)
_PATHS = frozenset(("", "score", "swagger.json"))


VERSION_HEADER = "azureml-model-deployment"
"""Of a request to an endpoint: the version that shall answer. Of the answer: the version that did."""


@dataclass
class ServedService:
    """What the router knows of one service.

    Attributes:
        access: who may score.
        split: which version answers; a service that is no endpoint has one, named ``""``.
        front_end: of HTTPS, by its name, that alone leads to it; ``""`` is the plain port of all.
        deployments: what serves, by version; empty before anything does.
        awaited: its first replicas are on their way.
    """

    access: Access
    split: TrafficSplit
    front_end: str = ""
    deployments: dict[str, Deployment] = field(default_factory=dict)
    awaited: bool = False

    @property
    def versioned(self) -> bool:
        """Whether it is an endpoint."""
        return "" not in self.split.weights

    @property
    def ready(self) -> bool:
        """Whether all of it can be served."""
        return bool(self.deployments) and all(deployment.ready for deployment in self.deployments.values())


class Router:
    """Finds the service, checks its key, picks a replica and passes request and answer on as they are."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._services: dict[tuple[str, str], ServedService] = {}

    def find(self, workspace: str, name: str) -> ServedService | None:
        return self._services.get((workspace.lower(), name))

    def all(self) -> list[ServedService]:
        return list(self._services.values())

    def publish(
        self, workspace: str, name: str, access: Access, shares: Mapping[str, float], front_end: str
    ) -> ServedService:
        """Add a service, or change who may score, by which port, and how requests are split among its versions."""
        served = self.find(workspace, name)
        if served is None:
            served = self._services[(workspace.lower(), name)] = ServedService(access, TrafficSplit(shares))
        served.access, served.front_end = access, front_end
        if served.split.weights != shares:
            served.split = TrafficSplit(shares)
        return served

    def remove(self, workspace: str, name: str) -> ServedService | None:
        return self._services.pop((workspace.lower(), name), None)

    def app(self, front_end: str = "") -> web.Application:
        """What answers on the port of a front end."""
        app = web.Application(client_max_size=LARGEST_REQUEST)
        app[_FRONT_END] = front_end
        service = "/{workspace}/api/v1/service/{service}"
        app.router.add_route("*", service + "/versions/{version}/{path:.*}", self._handle)
        app.router.add_route("*", service + "/{path:.*}", self._handle)
        app.router.add_route("*", "/{path:.*}", self._unknown)
        return app

    async def _unknown(self, request: web.Request) -> web.Response:
        return _refusal(ServiceError(404, "NotFound", f"{request.path} is not the path of a web service."))

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        try:
            response = await self._forward(request)
        except ServiceError as error:
            response = _refusal(error)
        if request.get("version"):
            response.headers[VERSION_HEADER] = request["version"]
        return response

    async def _forward(self, request: web.Request) -> web.Response:
        match = request.match_info
        name, path = match["service"], match["path"]
        service = self.find(match["workspace"], name)
        if (
            service is None
            or path not in _PATHS
            or service.front_end != request.app[_FRONT_END]
            or ("version" in match and not service.versioned)
        ):
            raise ServiceError(404, "NotFound", f"{request.path} is not the path of a web service.")
        if path and not service.access.allows(request.headers.get("Authorization")):
            raise ServiceError(
                401,
                "Unauthorized",
                f"Web service '{name}' wants one of its keys or tokens: Authorization: Bearer <key>.",
            )
        wanted = match.get("version") or request.headers.get(VERSION_HEADER)
        body = await request.read()
        for _ in range(_ATTEMPTS):
            request["version"], deployment = await self._choose(service, name, wanted)
            seconds = deployment.policy.timeout_seconds
            try:
                return await asyncio.wait_for(self._score(request, deployment, path, body), seconds)
            except asyncio.TimeoutError as error:
                message = f"Web service '{name}' did not answer within {seconds:g} seconds."
                raise ServiceError(504, "ScoringTimeout", message) from error
            except QueueTimeout as error:
                raise _unavailable(name, str(error)) from error
            except aiohttp.ClientPayloadError as error:
                raise ServiceError(
                    502, "BadGateway", f"A replica of web service '{name}' ended in the middle of its answer."
                ) from error
            except aiohttp.ClientConnectionError:
                # The replica went away before it answered. Scoring is asked for again: like Azure's front end, this
                # takes entry scripts for idempotent. The pause lets the end of its process be noticed first.
                await asyncio.sleep(_RETRY_SECONDS)
        raise _unavailable(name, "its replicas end before they answer")

    async def _choose(self, service: ServedService, name: str, wanted: str | None) -> tuple[str, Deployment]:
        """Whose turn it is; a request waits a while for the first replicas of a service that are on their way."""
        version = service.split.next() if wanted is None or not service.versioned else wanted
        if version not in service.split.weights:
            raise ServiceError(404, "NotFound", f"Endpoint '{name}' has no version '{version}'.")
        if version not in service.deployments:
            await self._state.wait_for(lambda: version in service.deployments or not service.awaited, _HOLD_SECONDS)
        deployment = service.deployments.get(version)
        if deployment is None:
            raise _unavailable(name, "nothing serves it yet")
        return version, deployment

    async def _score(self, request: web.Request, deployment: Deployment, path: str, body: bytes) -> web.Response:
        replica = await deployment.acquire()
        if replica is None:
            raise aiohttp.ClientConnectionError("a successor has taken over")
        headers = {key: value for key, value in request.headers.items() if key.lower() not in _NOT_FORWARDED}
        suffix = f"/{path}?{request.query_string}" if request.query_string else f"/{path}"
        try:
            async with replica.client.request(
                request.method,
                replica.url + suffix,
                data=body or None,
                headers=headers,
                skip_auto_headers=_NOT_ADDED,
                allow_redirects=False,
            ) as response:
                answer = await response.read()
        finally:
            deployment.release(replica)
        returned = [(key, value) for key, value in response.headers.items() if key.lower() not in _NOT_RETURNED]
        return web.Response(status=response.status, body=answer, headers=returned)


def _unavailable(name: str, reason: str) -> ServiceError:
    return ServiceError(503, "ServiceUnavailable", f"Web service '{name}' is unavailable: {reason}. Try again later.")


def _refusal(error: ServiceError) -> web.Response:
    headers = {"Retry-After": str(_RETRY_AFTER_SECONDS)} if error.status == 503 else None
    return web.json_response(error.payload(), status=error.status, headers=headers)
