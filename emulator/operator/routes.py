"""What the operator of the emulator asks, and Azure has no API for."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from emulator.management.store import Workspace
from emulator.routing import Request, Route, answer
from emulator.service import Service


class OperatorService(Service):
    """Answers ``python -m emulator status``."""

    def routes(self) -> list[Route]:
        return [Route("GET", "/emulator/status", self.status)]

    async def status(self, _: Request) -> web.Response:
        workspaces = self.emulator.management.store.workspaces()
        return answer({"workspaces": [self._workspace(workspace) for workspace in workspaces]})

    def _workspace(self, workspace: Workspace) -> dict[str, Any]:
        computes = self.emulator.management.store.computes(workspace)
        runs = [run for run in self.emulator.history.store.runs(workspace) if not run.is_terminal]
        services = self.emulator.services.store.all(workspace.id)
        return {
            "name": workspace.name,
            "resource_group": workspace.resource_group,
            "computes": [{"name": compute.name, "state": compute.state} for compute in computes],
            "runs": [{"name": run.run_id, "state": run.status} for run in runs],
            "services": [{"name": service.name, "state": service.state} for service in services],
        }
