"""Model management: profiles, really measured on a replica of their own."""

from __future__ import annotations

import asyncio
import logging
import shutil
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import psutil
from aiohttp import web

from emulator.child_processes import tail
from emulator.environments.store import without_registry_password
from emulator.errors import ServiceError, bad_request, not_emulated
from emulator.management.store import Workspace
from emulator.models.routes import MMS
from emulator.profiles.load import put_under_load
from emulator.profiles.payloads import profile_payload, results
from emulator.profiles.recommendation import CPU_BOUNDS, MEMORY_BOUNDS
from emulator.profiles.store import Profile, ProfileStore
from emulator.routing import Request, Route, answer
from emulator.service import Service
from emulator.services.container import ContainerImage, build_container, resolve_image
from emulator.services.payloads import operation_headers
from emulator.services.replica import Replica
from emulator.services.rollout import build_log_blob, explained
from emulator.services.store import DeploymentError, OperationStore
from emulator.state import utc_now

if TYPE_CHECKING:
    from emulator.server import Emulator

log = logging.getLogger("emulator.profiles")

_START_SECONDS = 120.0


def _container_log_blob(profile_id: str) -> tuple[str, str]:
    return "azureml", f"ProfileLogs/{profile_id}/container.log"


class ProfilesService(Service):
    """``Model.profile``: serves the model privately, loads it with the sample, and reads what it used."""

    def __init__(self, emulator: Emulator) -> None:
        super().__init__(emulator)
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def store(self) -> ProfileStore:
        return ProfileStore(self.state)

    @property
    def operations(self) -> OperationStore:
        return OperationStore(self.state)

    def routes(self) -> list[Route]:
        return [
            Route("POST", MMS + "/profiles", self.create),
            Route("GET", MMS + "/profiles", self.list_profiles),
        ]

    async def start(self) -> None:
        """A profile that was being measured when the emulator stopped has failed: nobody waits for it any more."""
        for workspace in self.emulator.management.store.workspaces():
            for profile in self.store.all(workspace.id):
                if profile.state == "Running":
                    failure = DeploymentError(
                        "DeployService", "Interrupted", "The emulator was stopped meanwhile: profile again.", ""
                    )
                    self._fail(workspace, profile, failure)

    async def stop(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def create(self, request: Request) -> web.Response:
        body, workspace = await request.json(), request.workspace
        name, dataset = str(body.get("name") or ""), str(body.get("inputDatasetId") or "")
        image_request = body.get("environmentImageRequest") or {}
        if not name:
            raise bad_request("A profile needs a name.")
        if not image_request.get("environment"):
            raise not_emulated("profiling without an Environment: pass one")
        rows = self.emulator.datasets.rows(workspace, dataset)
        if not rows:
            raise bad_request(f"The sample data set of profile '{name}' is empty: it needs one request per line.")
        image = resolve_image(self.emulator, workspace, name, image_request)
        wanted = body.get("containerResourceRequirements") or {}
        operation = self.operations.begin(workspace.id, "Profile", f"profiles/{name}")
        profile = Profile(
            id=operation.id,
            name=name,
            description=body.get("description"),
            input_dataset_id=dataset,
            container_resource_requirements={
                "cpu": wanted.get("cpu") or CPU_BOUNDS[1],
                "memoryInGB": wanted.get("memoryInGB") or MEMORY_BOUNDS[1],
            },
            created_time=utc_now(),
            model_ids=list(image_request.get("modelIds") or []),
            environment=without_registry_password(image_request["environment"]),
        )
        self.store.put(workspace.id, profile)
        task = asyncio.create_task(self._measure(workspace, profile, image, rows))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return answer({}, status=202, headers=operation_headers(self.emulator.url, workspace, operation))

    async def list_profiles(self, request: Request) -> web.Response:
        name, storage = request.query.get("name"), self.emulator.storage
        found = [profile for profile in self.store.all(request.workspace.id) if name in (None, profile.name)]
        if name is not None and not found:
            raise ServiceError(404, "ProfileNotFound", f"Profile '{name}' was not found in this workspace.")
        page = found[: int(request.query.get("count") or len(found))]
        payloads = [
            profile_payload(profile, storage.download_url(*_container_log_blob(profile.id))) for profile in page
        ]
        return answer({"value": payloads})

    def _fail(self, workspace: Workspace, profile: Profile, failure: DeploymentError) -> None:
        log.warning("profile %s: %s", profile.name, failure.message)
        self.store.put(workspace.id, profile.model_copy(update={"state": "Failed", "error": failure.payload()}))
        self.operations.end(workspace.id, profile.id, "Failed", failure)

    async def _measure(self, workspace: Workspace, profile: Profile, image: ContainerImage, rows: list[str]) -> None:
        async with AsyncExitStack() as afterwards:  # the result is told before the replica has ended
            try:
                served = self._serve_and_load(workspace, profile, image, rows, afterwards)
                found = await explained(served, profile.name)
            except DeploymentError as failure:
                self._fail(workspace, profile, failure)
            else:
                self.store.put(workspace.id, profile.model_copy(update={**found, "state": "Succeeded"}))
                self.operations.end(workspace.id, profile.id, "Succeeded")

    async def _serve_and_load(
        self,
        workspace: Workspace,
        profile: Profile,
        image: ContainerImage,
        rows: list[str],
        afterwards: AsyncExitStack,
    ) -> dict[str, Any]:
        storage, directory = self.emulator.storage, self.state.directory / "profiles" / profile.id
        afterwards.callback(shutil.rmtree, directory, ignore_errors=True)
        container = await build_container(
            self.emulator,
            image,
            directory,
            build_log=storage.path(*build_log_blob(profile.id)),
            progress=lambda text: self.operations.advance(workspace.id, profile.id, "BuildEnvironment", text),
        )
        replica = Replica(container, storage.path(*_container_log_blob(profile.id)))
        self.operations.advance(workspace.id, profile.id, "DeployService", "Measuring")
        afterwards.callback(container.fork_server.warm_up)  # not sooner: it would compete with what is measured
        afterwards.push_async_callback(replica.stop)
        try:
            await replica.start(_START_SECONDS)
            measurement = await put_under_load(replica, rows)
        except psutil.Error as error:
            message = "The container ended while it was under load: its log ends with the reason."
            raise DeploymentError("DeployService", "CrashLoopBackOff", message, tail(replica.log)) from error
        if not measurement.latencies:
            message = f"None of {measurement.total} requests was answered with 200, first: {measurement.failures[0]}."
            raise DeploymentError("DeployService", "RequestsFailed", message, tail(replica.log))
        return results(measurement)
