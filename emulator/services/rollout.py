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
from emulator.services.configuration import Configuration, containers, same_image, serving_policy, traffic
from emulator.services.container import build_container, resolve_image
from emulator.services.deployment import Deployment
from emulator.services.router import Router, ServedService
from emulator.services.store import DeploymentError, OperationStore, Stage, WebService, WebServiceStore
from emulator.services.tls import FrontEnd, TlsPorts, front_end_of_cluster, front_end_of_service
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
        self.tls = TlsPorts(emulator.state, router.app)

    def publish(self, workspace: Workspace, service: WebService) -> ServedService:
        """Tell the router who may score, who answers, and how."""
        configuration = service.configuration
        access = Access(
            audience=audience(workspace, service.name),
            keys=(service.primary_key, service.secondary_key) if configuration["authEnabled"] else None,
            token_key=self._state.secret("scoring_token_key") if configuration.get("aadAuthEnabled") else None,
        )
        front_end = self.front_end(workspace, service)
        if front_end is not None:
            self.tls.open(front_end)
        name = front_end.name if front_end is not None else ""
        served = self._router.publish(workspace.name, service.name, access, traffic(configuration), name)
        self._close_unused_ports()
        for name, container in containers(configuration).items():
            if name in served.deployments:
                served.deployments[name].adopt(serving_policy(container))
        return served

    def front_end(self, workspace: Workspace, service: WebService) -> FrontEnd | None:
        """Of HTTPS, of a service that has one."""
        configuration = service.configuration
        if configuration["computeType"] == "ACI":
            return front_end_of_service(workspace.id, service.name, configuration)
        cluster = self._emulator.management.store.find_compute(workspace, configuration["computeName"])
        own = self._state.directory / "tls" / "server.pem"
        return None if cluster is None else front_end_of_cluster(workspace.id, cluster.name, cluster.inner, own)

    def is_served(self, workspace: Workspace, service: WebService) -> bool:
        """Whether all that is to be served has replicas."""
        served = self._router.find(workspace.name, service.name)
        return served is not None and containers(service.configuration).keys() == served.deployments.keys()

    def health(self, workspace: Workspace, service: WebService) -> dict[str, str]:
        """The state of each of the service's containers, also of those that are on their way."""
        served = self._router.find(workspace.name, service.name)
        deployments = served.deployments if served is not None else {}
        states = {}
        for name in {**containers(service.desired), **containers(service.configuration)}:
            if name in deployments:
                states[name] = "Healthy" if deployments[name].ready else "Unhealthy"
            else:
                states[name] = "Transitioning" if service.operation or (served and served.awaited) else "Failed"
        return states

    def logs(self, workspace: Workspace, service: WebService, lines: int) -> str:
        """What ``get_logs`` shows: of each replica of the containers that were started last, whether they came up."""
        files = [
            (f"{name} {file.stem}".strip(), file)
            for name, revision in service.log_revisions.items()
            for file in sorted(self._directory(workspace, service.name, revision).glob("replica-*.log"))
        ]
        if len(files) == 1:
            return tail(files[0][1], lines)
        return "\n".join(f"--- {title} ---\n{tail(file, lines)}" for title, file in files)

    def begin(self, workspace: Workspace, name: str) -> None:
        """Start to bring up what the service is to be next."""
        self._run(workspace, name, self._roll_out(workspace, name))

    def resume(self, workspace: Workspace, service: WebService) -> None:
        """Take up again what served, and what was on its way, when the emulator last stopped."""
        served = self.publish(workspace, service)
        if service.revisions or service.operation is not None:
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
        self._close_unused_ports()
        directory = self._state.directory / "services" / workspace.id / name
        revisions = [int(revision.name) for revision in directory.iterdir()] if directory.is_dir() else []
        if served is not None:
            self._in_the_background(self._drain(list(served.deployments.values()), workspace, name, revisions))

    async def stop(self) -> None:
        """Stop every process. Roll-outs are not ended by this: they are taken up again at the next start."""
        tasks = [*self._tasks.values(), *self._draining]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        deployments = [deployment for served in self._router.all() for deployment in served.deployments.values()]
        await asyncio.gather(*(deployment.stop() for deployment in deployments))
        await self.tls.stop()

    def _close_unused_ports(self) -> None:
        self.tls.close_except({served.front_end for served in self._router.all()})

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
            revisions = await explained(self._replace(workspace, service, service.operation), name)
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
                revisions=revisions,
                log_revisions=revisions,
                state="Healthy",
                error=None,
                updated=utc_now(),
            )
            self.publish(workspace, done)
            self._operations.end(workspace.id, service.operation, "Succeeded")

    async def _replace(self, workspace: Workspace, service: WebService, operation: str) -> dict[str, int]:
        """Bring up what the service is to be next and let it take over; returns its revisions.

        Either all of it takes over or nothing: what has come up beside something that failed is stopped.
        """
        served = self.publish(workspace, service)
        current, wanted = containers(service.configuration), containers(service.desired)
        kept = [
            name
            for name, container in wanted.items()
            if name in service.revisions and name in served.deployments and same_image(current.get(name), container)
        ]
        fresh = {
            name: self._state.next_number(f"revision/{service.name}", workspace.id)
            for name in wanted
            if name not in kept
        }
        await self._note_log_revisions(workspace, service, fresh)
        served.awaited = served.awaited or not served.deployments
        deployments = await self._bring_all_up(workspace, service, wanted, fresh, served, operation)
        try:
            await asyncio.gather(*(self._rescale(served.deployments[name], wanted[name]) for name in kept))
        except BaseException:
            await asyncio.gather(*(deployment.stop() for deployment in deployments.values()))
            raise
        gone = [name for name in served.deployments if name not in kept]
        old = [served.deployments.pop(name) for name in gone]
        served.deployments |= deployments
        served.awaited = False
        left = [service.revisions[name] for name in gone if name in service.revisions]
        self._in_the_background(self._drain(old, workspace, service.name, left))
        return {name: fresh[name] if name in fresh else service.revisions[name] for name in wanted}

    async def _note_log_revisions(self, workspace: Workspace, service: WebService, fresh: dict[str, int]) -> None:
        failed = [
            service.log_revisions[name]
            for name in service.log_revisions
            if name in fresh and service.log_revisions[name] != service.revisions.get(name)
        ]
        self._services.update(workspace.id, service.name, log_revisions={**service.log_revisions, **fresh})
        await self._forget_revisions(workspace, service.name, failed)

    async def _bring_all_up(
        self,
        workspace: Workspace,
        service: WebService,
        wanted: dict[str, Configuration],
        fresh: dict[str, int],
        served: ServedService,
        operation: str,
    ) -> dict[str, Deployment]:
        def progress(stage: Stage, text: str) -> None:
            self._operations.advance(workspace.id, operation, stage, text)

        build_log = self._emulator.storage.path(*build_log_blob(operation))
        tasks = {
            name: asyncio.ensure_future(
                self._bring_up(
                    workspace,
                    service.name,
                    wanted[name],
                    self._directory(workspace, service.name, revision),
                    build_log,
                    progress,
                    present=served.deployments[name].count if name in served.deployments else 0,
                )
            )
            for name, revision in fresh.items()
        }
        try:
            await asyncio.gather(*tasks.values())
        except BaseException:
            for task in tasks.values():
                task.cancel()
            for found in await asyncio.gather(*tasks.values(), return_exceptions=True):
                if isinstance(found, Deployment):
                    await found.stop()
            raise
        return {name: task.result() for name, task in tasks.items()}

    async def _rescale(self, deployment: Deployment, configuration: Configuration) -> None:
        policy = serving_policy(configuration)
        deployment.adopt(policy)  # first, so that no autoscaler changes the number back
        await deployment.scale(policy.count(deployment.count))

    async def _bring_up(
        self,
        workspace: Workspace,
        name: str,
        configuration: Configuration,
        directory: Path,
        build_log: Path,
        progress: Progress,
        *,
        present: int = 0,
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
        policy = serving_policy(configuration)
        deployment = Deployment(container, directory, policy, lambda: self._note_health(workspace, name))
        await deployment.scale(policy.count(present))
        return deployment

    def _in_the_background(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._draining.add(task)
        task.add_done_callback(self._draining.discard)

    async def _drain(
        self, deployments: list[Deployment], workspace: Workspace, name: str, revisions: list[int]
    ) -> None:
        await asyncio.gather(*(deployment.drain() for deployment in deployments))
        await self._forget_revisions(workspace, name, revisions)

    async def _forget_revisions(self, workspace: Workspace, name: str, revisions: list[int]) -> None:
        for revision in revisions:
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
            state=health if served.deployments else "Failed",
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
        served = self.publish(workspace, service)
        if served.deployments or not served.awaited or not service.revisions:
            return
        work = [self._bring_one_back(workspace, service, served, name) for name in service.revisions]
        failures = [failure for failure in await asyncio.gather(*work) if failure is not None]
        served.awaited = False
        for failure in failures:
            log.warning("web service %s is not up again: %s", service.name, failure.message)
        error = failures[0].payload() if failures else None
        self._services.update(workspace.id, service.name, state="Failed" if failures else "Healthy", error=error)

    async def _bring_one_back(
        self, workspace: Workspace, service: WebService, served: ServedService, name: str
    ) -> DeploymentError | None:
        directory = self._directory(workspace, service.name, service.revisions[name])
        work = self._bring_up(
            workspace,
            service.name,
            containers(service.configuration)[name],
            directory,
            directory / "build.log",
            lambda stage, text: log.info("web service %s %s: %s: %s", service.name, name, stage, text),
            reuse=True,
        )
        try:
            served.deployments[name] = await explained(work, service.name)
        except DeploymentError as failure:
            return failure
        self._state.notify()  # requests wait for it
        return None

    def _note_health(self, workspace: Workspace, name: str) -> None:
        served, service = self._router.find(workspace.name, name), self._services.find(workspace.id, name)
        if served is not None and served.deployments and service is not None and service.operation is None:
            state = "Healthy" if served.ready else "Unhealthy"
            if service.state != state:
                self._services.update(workspace.id, name, state=state)
        self._state.notify()
