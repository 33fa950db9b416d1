"""Bringing services up: made, updated, scaled, taken up again. What serves goes on until its successor does."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from emulator.child_processes import tail
from emulator.errors import ServiceError
from emulator.management.store import Workspace
from emulator.services.access import Access
from emulator.services.configuration import Configuration, replica_count, start_seconds
from emulator.services.container import build_container, resolve_image
from emulator.services.deployment import Deployment
from emulator.services.router import Router, ServedService
from emulator.services.store import DeploymentError, OperationStore, Stage, WebService, WebServiceStore
from emulator.state import utc_now

if TYPE_CHECKING:
    from emulator.server import Emulator

log = logging.getLogger("emulator.services")

T = TypeVar("T")
Progress = Callable[[Stage, str], None]


def audience(workspace: Workspace, name: str) -> str:
    """What a service's own tokens are good for."""
    return f"{workspace.id}/{name}"


def build_log_blob(operation: str) -> tuple[str, str]:
    """Container and name of the blob that an operation's environment is logged to, where Azure keeps it."""
    return "azureml", f"ImageLogs/{operation}/build.log"


async def explained(work: Awaitable[T], name: str) -> T:
    """Do the work of service or profile ``name``; what nobody has foreseen fails it like everything else does.

    Raises:
        DeploymentError: the work has failed.
    """
    try:
        return await work
    except DeploymentError:
        raise
    except Exception as error:
        log.exception("bringing up %s failed", name)
        message = f"The emulator failed to bring '{name}' up ({error}): `python -m emulator logs` says more."
        raise DeploymentError("DeployService", "InternalServerError", message, "") from error


class Rollouts:
    """Turns what services are configured to be into replicas that serve it, one roll-out per service at a time."""

    def __init__(self, emulator: Emulator, router: Router) -> None:
        self._emulator = emulator
        self._state = emulator.state
        self._router = router
        self._services = WebServiceStore(emulator.state)
        self._operations = OperationStore(emulator.state)
        self._tasks: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._draining: set[asyncio.Task[None]] = set()

    def publish(self, workspace: Workspace, service: WebService) -> ServedService:
        """Tell the router who may score, and how long that may take."""
        configuration = service.configuration
        milliseconds = configuration.get("scoringTimeoutMs")
        access = Access(
            audience=audience(workspace, service.name),
            keys=(service.primary_key, service.secondary_key) if configuration["authEnabled"] else None,
            token_key=self._state.secret("scoring_token_key") if configuration.get("aadAuthEnabled") else None,
        )
        return self._router.publish(workspace.name, service.name, access, milliseconds / 1000 if milliseconds else None)

    def is_served(self, workspace: Workspace, name: str) -> bool:
        served = self._router.find(workspace.name, name)
        return served is not None and served.deployment is not None

    def logs(self, workspace: Workspace, service: WebService, lines: int) -> str:
        """What ``get_logs`` shows: of each replica of the container that was started last, whether it came up."""
        if service.log_revision is None:
            return ""
        files = sorted(self._directory(workspace, service.name, service.log_revision).glob("replica-*.log"))
        if len(files) == 1:
            return tail(files[0], lines)
        return "\n".join(f"--- {file.stem} ---\n{tail(file, lines)}" for file in files)

    def begin(self, workspace: Workspace, name: str) -> None:
        """Start to bring up what the service is to be next."""
        self._run(workspace, name, self._roll_out(workspace, name))

    def resume(self, workspace: Workspace, service: WebService) -> None:
        """Take up again what served, and what was on its way, when the emulator last stopped."""
        served = self.publish(workspace, service)
        if service.revision is not None or service.operation is not None:
            served.awaited = True
            self._services.update(workspace.id, service.name, state="Transitioning")
            self._run(workspace, service.name, self._restore(workspace, service.name))

    async def cancel(self, workspace: Workspace, name: str) -> None:
        """End the roll-out in progress, if there is one; what served before goes on."""
        task = self._tasks.pop((workspace.id, name), None)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        service = self._services.get(workspace.id, name)
        if service.operation is not None:
            message = f"A newer request for '{name}' has taken the place of this operation."
            superseded = DeploymentError("DeployService", "Superseded", message, "")
            self._operations.end(workspace.id, service.operation, "Cancelled", superseded)

    async def remove(self, workspace: Workspace, name: str) -> None:
        """Stop and forget a service."""
        await self.cancel(workspace, name)
        self._services.delete(workspace.id, name)
        served = self._router.remove(workspace.name, name)
        directory = self._state.directory / "services" / workspace.id / name
        revisions = [int(revision.name) for revision in directory.iterdir()] if directory.is_dir() else []
        if served is not None and served.deployment is not None:
            await served.deployment.drain()
        for revision in revisions:
            await self._forget_revision(workspace, name, revision)

    async def stop(self) -> None:
        """Stop every process. Roll-outs are not ended by this: they are taken up again at the next start."""
        tasks = [*self._tasks.values(), *self._draining]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        deployments = [served.deployment for served in self._router.all() if served.deployment is not None]
        await asyncio.gather(*(deployment.stop() for deployment in deployments))

    def _directory(self, workspace: Workspace, name: str, revision: int) -> Path:
        return self._state.directory / "services" / workspace.id / name / str(revision)

    def _run(self, workspace: Workspace, name: str, work: Coroutine[None, None, None]) -> None:
        key = (workspace.id, name)
        task = asyncio.create_task(work)
        self._tasks[key] = task
        task.add_done_callback(lambda done: self._tasks.pop(key) if self._tasks.get(key) is done else None)

    async def _roll_out(self, workspace: Workspace, name: str) -> None:
        service = self._services.get(workspace.id, name)
        if service.operation is None:
            raise LookupError(f"web service '{name}' has no roll-out to do")
        await self._bring_back(workspace, service)
        try:
            revision = await explained(self._replace(workspace, service, service.operation), name)
        except DeploymentError as failure:
            self._give_up(workspace, service, service.operation, failure)
        else:
            self._operations.advance(workspace.id, service.operation, "DeployService", "The service is healthy")
            done = self._services.update(
                workspace.id,
                name,
                configuration=service.desired,
                next_configuration=None,
                operation=None,
                revision=revision,
                log_revision=revision,
                state="Healthy",
                error=None,
                updated=utc_now(),
            )
            self.publish(workspace, done)
            self._operations.end(workspace.id, service.operation, "Succeeded")

    async def _replace(self, workspace: Workspace, service: WebService, operation: str) -> int:
        """Bring up what the service is to be next and let it take over; returns its revision."""
        name, target = service.name, service.desired
        served = self.publish(workspace, service)
        unchanged = target["environmentImageRequest"] == service.configuration["environmentImageRequest"]
        if served.deployment is not None and service.revision is not None and unchanged:
            await served.deployment.scale(replica_count(target))
            return service.revision
        revision = self._state.next_number(f"revision/{name}", workspace.id)
        self._services.update(workspace.id, name, log_revision=revision)
        if service.log_revision not in (None, service.revision):
            await self._forget_revision(workspace, name, service.log_revision)
        served.awaited = True
        fresh = await self._bring_up(
            workspace,
            name,
            target,
            self._directory(workspace, name, revision),
            self._emulator.storage.path(*build_log_blob(operation)),
            lambda stage, text: self._operations.advance(workspace.id, operation, stage, text),
        )
        old, served.deployment, served.awaited = served.deployment, fresh, False
        if old is not None:
            task = asyncio.create_task(self._drain(old, workspace, name, service.revision))
            self._draining.add(task)
            task.add_done_callback(self._draining.discard)
        return revision

    async def _bring_up(
        self,
        workspace: Workspace,
        name: str,
        configuration: Configuration,
        directory: Path,
        build_log: Path,
        progress: Progress,
        reuse: bool = False,
    ) -> Deployment:
        try:
            image = resolve_image(self._emulator, workspace, name, configuration["environmentImageRequest"])
        except ServiceError as error:
            raise DeploymentError("DeployService", error.code, error.message, "") from error
        container = await build_container(
            self._emulator,
            image,
            directory,
            build_log=build_log,
            progress=lambda text: progress("BuildEnvironment", text),
            reuse=reuse,
        )
        progress("DeployService", "Starting the replicas")
        deployment = Deployment(
            container,
            directory,
            start_seconds(configuration),
            lambda: self._note_health(workspace, name),
        )
        await deployment.scale(replica_count(configuration))
        return deployment

    async def _drain(self, deployment: Deployment, workspace: Workspace, name: str, revision: int | None) -> None:
        await deployment.drain()
        await self._forget_revision(workspace, name, revision)

    async def _forget_revision(self, workspace: Workspace, name: str, revision: int | None) -> None:
        if revision is not None:
            await asyncio.to_thread(shutil.rmtree, self._directory(workspace, name, revision), ignore_errors=True)

    def _give_up(self, workspace: Workspace, service: WebService, operation: str, failure: DeploymentError) -> None:
        """What served before goes on to serve; a service that never did is Failed."""
        log.warning("web service %s: %s", service.name, failure.message)
        served = self.publish(workspace, service)
        served.awaited = False
        health = "Healthy" if served.ready else "Unhealthy"
        self._services.update(
            workspace.id,
            service.name,
            next_configuration=None,
            operation=None,
            state="Failed" if served.deployment is None else health,
            error=failure.payload(),
            updated=utc_now(),
        )
        self._operations.end(workspace.id, operation, "Failed", failure)

    async def _restore(self, workspace: Workspace, name: str) -> None:
        service = self._services.get(workspace.id, name)
        if service.operation is not None:
            await self._roll_out(workspace, name)
        else:
            await self._bring_back(workspace, service)

    async def _bring_back(self, workspace: Workspace, service: WebService) -> None:
        """Serve again what served before the emulator stopped."""
        name, served = service.name, self.publish(workspace, service)
        if served.deployment is not None or not served.awaited or service.revision is None:
            return
        directory = self._directory(workspace, name, service.revision)
        work = self._bring_up(
            workspace,
            name,
            service.configuration,
            directory,
            directory / "build.log",
            lambda stage, text: log.info("web service %s: %s: %s", name, stage, text),
            reuse=True,
        )
        try:
            served.deployment = await explained(work, name)
        except DeploymentError as failure:
            log.warning("web service %s is not up again: %s", name, failure.message)
            self._services.update(workspace.id, name, state="Failed", error=failure.payload())
        else:
            self._services.update(workspace.id, name, state="Healthy", error=None)
        served.awaited = False

    def _note_health(self, workspace: Workspace, name: str) -> None:
        served, service = self._router.find(workspace.name, name), self._services.find(workspace.id, name)
        if served is not None and served.deployment is not None and service is not None and service.operation is None:
            state = "Healthy" if served.ready else "Unhealthy"
            if service.state != state:
                self._services.update(workspace.id, name, state=state)
        self._state.notify()
