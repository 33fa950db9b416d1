"""What the operator of the emulator asks, and Azure has no API for."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from emulator.errors import bad_request
from emulator.management.store import Workspace
from emulator.routing import Request, Route, answer
from emulator.service import Service


class OperatorService(Service):
    """Answers ``python -m emulator status``, and does to compute targets what Azure does without being asked."""

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/emulator/status", self.status),
            Route("POST", "/emulator/{WS}/computes/{compute}/preempt", self.preempt),
            Route("POST", "/emulator/{WS}/computes/{compute}/fail-next-creation", self.fail_next_creation),
        ]

    async def status(self, _: Request) -> web.Response:
        workspaces = self.emulator.management.store.workspaces()
        return answer({"workspaces": [self._workspace(workspace) for workspace in workspaces]})

    async def preempt(self, request: Request) -> web.Response:
        """Take the nodes of a low-priority cluster away: its runs are queued again."""
        compute = self.emulator.management.store.compute(request.workspace, request.params["compute"])
        if not compute.low_priority:
            raise bad_request(
                f"Compute target '{compute.name}' is not of low priority: Azure takes no nodes of it away. Create it "
                "with vm_priority='lowpriority'."
            )
        return answer({"runs": self.emulator.execution.pool(request.workspace, compute.name).preempt()})

    async def fail_next_creation(self, request: Request) -> web.Response:
        """Have the next creation of a compute target of that name fail, as it does when a quota is used up."""
        message = (await request.json())["message"]
        self.emulator.management.store.fail_next(request.workspace, request.params["compute"], message)
        return answer({})

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
