"""Bringing services up: create, update, scale, take up again after a restart. What serves, serves until its successor does."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emulator.child_processes import tail
from emulator.errors import ServiceError
from emulator.management.store import Workspace
from emulator.services.access import Access
from emulator.services.configuration import Configuration, replica_count, start_seconds
from emulator.services.container import build_container, resolve_image
from emulator.services.deployment import Deployment
from emulator.services.router import Router, ServedService
from emulator.services.store import DeploymentFailed, OperationStore, Stage, WebService, WebServiceStore
from emulator.state import utc_now

if TYPE_CHECKING:
    from emulator.server import Emulator

log = logging.getLogger("emulator.services")


class Rollouts:
    """Turns what services are configured to be into replicas that serve it, one roll-out per service at a time."""

    def __init__(self, emulator: Emulator, router: Router) -> None:
        self._emulator = emulator
        self._state = emulator.state
        self._router = router
        self._services = WebServiceStore(emulator.state)
        self._operations = OperationStore(emulator.state)
        self._tasks: dict[tuple[str, str], asyncio.Task[None]] = {}

    # what the router knows ------------------------------------------------------------------------------------------

    def audience(self, workspace: Workspace, name: str) -> str:
        return f"{workspace.id}/{name}"

    def publish(self, workspace: Workspace, service: WebService) -> ServedService:
        """Tell the router who may score, and how long that may take."""
        served = self._router.find(workspace.name, service.name)
        configuration = service.configuration
        by_token = bool(configuration.get("aadAuthEnabled"))
        access = Access(
            audience=self.audience(workspace, service.name),
            keys=(service.primary_key, service.secondary_key) if configuration["authEnabled"] else None,
            token_key=self._state.secret("scoring_token_key") if by_token else None,
        )
        milliseconds = configuration.get("scoringTimeoutMs")
        timeout = milliseconds / 1000 if milliseconds else None
        if served is None:
            served = ServedService(access, timeout)
            self._router.put(workspace.name, service.name, served)
        served.access, served.timeout_seconds = access, timeout
        return served

    # where things lie -----------------------------------------------------------------------------------------------

    def _directory(self, workspace: Workspace, name: str, *parts: str) -> Path:
        return self._state.directory.joinpath("services", workspace.id, name, *parts)

    def container_directory(self, workspace: Workspace, name: str, revision: int) -> Path:
        return self._directory(workspace, name, str(revision))

    def build_log(self, workspace: Workspace, operation: str) -> tuple[str, str]:
        """The blob that an operation's environment is logged to, where Azure keeps it, as (container, name)."""
        return "azureml", f"ImageLogs/{operation}/build.log"

    def logs(self, workspace: Workspace, service: WebService, lines: int) -> str:
        """What ``get_logs`` shows: of each replica of the container that was started last."""
        if service.log_revision is None:
            return ""
        directory = self.container_directory(workspace, service.name, service.log_revision)
        files = sorted(directory.glob("replica-*.log"), key=lambda file: file.stat().st_mtime)
        if len(files) == 1:
            return tail(files[0], lines)
        return "\n".join(f"--- {file.stem} ---\n{tail(file, lines)}" for file in files)

    # roll-outs ------------------------------------------------------------------------------------------------------

    def begin(self, workspace: Workspace, name: str) -> None:
        """Start to bring up what the service is now configured to be next."""
        self._run(workspace, name, self._roll_out(workspace, name))

    def resume(self, workspace: Workspace, service: WebService) -> None:
        """Take up again what served, and what was on its way, when the emulator last stopped."""
        self.publish(workspace, service).awaited = service.revision is not None or service.operation is not None
        self._run(workspace, service.name, self._restore(workspace, service.name))

    async def cancel(self, workspace: Workspace, name: str) -> None:
        """End the roll-out in progress, if there is one; what served before goes on."""
        task = self._tasks.pop((workspace.id, name), None)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        service = self._services.get(workspace.id, name)
        if service.operation is not None:
            self._operations.end(workspace.id, service.operation, "Cancelled")

    async def remove(self, workspace: Workspace, name: str) -> None:
        """Stop and forget a service."""
        await self.cancel(workspace, name)
        served = self._router.remove(workspace.name, name)
        if served is not None:
            served.awaited, deployment, served.deployment = False, served.deployment, None
            if deployment is not None:
                await deployment.stop()
        await asyncio.to_thread(shutil.rmtree, self._directory(workspace, name), ignore_errors=True)

    async def stop(self, workspaces: list[Workspace]) -> None:
        """Stop every process. Roll-outs are not ended by this: they are taken up again at the next start."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        served = [
            self._router.find(workspace.name, service.name)
            for workspace in workspaces
            for service in self._services.list(workspace.id)
        ]
        await asyncio.gather(*(one.deployment.stop() for one in served if one is not None and one.deployment is not None))

    def _run(self, workspace: Workspace, name: str, work: Any) -> None:
        key = (workspace.id, name)
        task = asyncio.create_task(work)
        self._tasks[key] = task
        task.add_done_callback(lambda done: self._tasks.pop(key, None) if self._tasks.get(key) is done else None)

    async def _bring_up(
        self,
        workspace: Workspace,
        name: str,
        configuration: Configuration,
        revision: int,
        *,
        build_log: Path,
        progress: Callable[[str, Stage], None],
        reuse: bool = False,
    ) -> Deployment:
        try:
            image = resolve_image(self._emulator, workspace, name, configuration["environmentImageRequest"])
        except ServiceError as error:
            raise DeploymentFailed("DeployService", error.code, error.message, "") from error
        directory = self.container_directory(workspace, name, revision)
        container = await build_container(
            self._emulator,
            image,
            directory,
            build_log=build_log,
            progress=lambda text: progress(text, "BuildEnvironment"),
            reuse=reuse,
        )
        count = replica_count(configuration)
        progress(f"Starting {count} replica{'s' * (count > 1)}", "DeployService")
        deployment = Deployment(
            container,
            directory,
            start_seconds(configuration),
            self._router.client,
            lambda: self._note_health(workspace, name),
        )
        await deployment.scale(count)
        return deployment

    async def _roll_out(self, workspace: Workspace, name: str) -> None:
        service = self._services.get(workspace.id, name)
        operation = service.operation
        if operation is None:
            raise LookupError(f"service '{name}' has no roll-out to do")
        try:
            await self._replace(workspace, service, operation)
        except DeploymentFailed as failure:
            self._give_up(workspace, service, operation, failure)
        except Exception as error:
            log.exception("the roll-out of web service %s failed", name)
            failure = DeploymentFailed(
                "DeployService",
                "InternalServerError",
                f"The emulator failed to bring web service '{name}' up ({error}): `python -m emulator logs` says why.",
                "",
            )
            self._give_up(workspace, service, operation, failure)

    async def _replace(self, workspace: Workspace, service: WebService, operation: str) -> None:
        name, target = service.name, service.desired
        served = self.publish(workspace, service)
        same_container = (
            served.deployment is not None
            and target["environmentImageRequest"] == service.configuration["environmentImageRequest"]
        )
        revision = service.revision if same_container else None
        if served.deployment is not None and revision is not None:
            await served.deployment.scale(replica_count(target))
        else:
            revision = self._state.next_number(f"revision/{name}", workspace.id)
            self._services.update(workspace.id, name, log_revision=revision)
            served.awaited = True
            fresh = await self._bring_up(
                workspace,
                name,
                target,
                revision,
                build_log=self._emulator.storage.path(*self.build_log(workspace, operation)),
                progress=lambda text, stage: self._operations.advance(workspace.id, operation, stage, text),
            )
            old, served.deployment, served.awaited = served.deployment, fresh, False
            if old is not None:
                self._tasks_of_draining(workspace, name, old, service.revision)
        self._operations.advance(workspace.id, operation, "DeployService", "The service is healthy")
        done = self._services.update(
            workspace.id,
            name,
            configuration=target,
            next_configuration=None,
            operation=None,
            revision=revision,
            log_revision=revision,
            state="Healthy",
            error=None,
            updated=utc_now(),
        )
        self.publish(workspace, done)
        self._operations.end(workspace.id, operation, "Succeeded")
