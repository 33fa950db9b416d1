"""Service discovery: where each service of a workspace lives. Here, all of them live on the one HTTPS port."""

from __future__ import annotations

from aiohttp import web

from emulator.routing import Request, Route, answer
from emulator.service import Service

_SERVICES = ("api", "experimentation", "history", "hyperdrive", "modelmanagement", "studio", "pipelines", "mlflow")


class DiscoveryService(Service):
    """Answers the address that a workspace names as its ``discoveryUrl``, without a token, as Azure does."""

    def routes(self) -> list[Route]:
        return [Route("GET", "/discovery/workspaces/{workspace_id}", self.services, open=True)]

    def url(self, workspace_id: str) -> str:
        return f"{self.emulator.url}/discovery/workspaces/{workspace_id}"

    async def services(self, _: Request) -> web.Response:
        return answer(dict.fromkeys(_SERVICES, self.emulator.url))
