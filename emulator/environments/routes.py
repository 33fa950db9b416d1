"""Environments: definitions by name and version, and the interpreters that are built from them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from emulator.environments.builder import EnvironmentBuilder
from emulator.environments.store import EnvironmentsStore
from emulator.errors import not_found
from emulator.routing import Request, Route, answer
from emulator.service import Service

if TYPE_CHECKING:
    from emulator.server import Emulator

_ENVIRONMENTS = "/environment/v1.0/{WS}/environments"


class EnvironmentsService(Service):
    """What ``Environment.register``, ``get`` and ``list`` ask; ``builder`` makes them real."""

    def __init__(self, emulator: Emulator) -> None:
        super().__init__(emulator)
        self.builder = EnvironmentBuilder(self.state.folder("environments"))

    @property
    def store(self) -> EnvironmentsStore:
        return EnvironmentsStore(self.state)

    def routes(self) -> list[Route]:
        environment = _ENVIRONMENTS + "/{environment}"
        return [
            Route("GET", _ENVIRONMENTS, self.environments),
            Route("GET", environment, self.get_environment),
            Route("PUT", environment, self.register),
            Route("GET", environment + "/labels/{label}", self.get_labelled),
            Route("GET", environment + "/versions/{version}", self.get_environment),
            Route("PUT", environment + "/versions/{version}", self.register),
        ]

    async def stop(self) -> None:
        await self.builder.stop()

    async def environments(self, request: Request) -> web.Response:
        value = [environment.payload() for environment in self.store.latest(request.workspace)]
        return answer({"value": value, "continuationToken": None})

    async def get_environment(self, request: Request) -> web.Response:
        name, version = request.params["environment"], request.params.get("version")
        return answer(self.store.environment(request.workspace, name, version).payload())

    async def get_labelled(self, request: Request) -> web.Response:
        name, label = request.params["environment"], request.params["label"]
        if label != "latest":
            raise not_found(f"Label '{label}' of environment", name)
        return answer(self.store.environment(request.workspace, name).payload())

    async def register(self, request: Request) -> web.Response:
        name, version = request.params["environment"], request.params.get("version")
        return answer(self.store.register(request.workspace, name, version, await request.json()).payload())
