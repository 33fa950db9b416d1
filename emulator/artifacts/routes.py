"""Artifacts: the files of runs (origin ``ExperimentRun``) and of models (``LocalUpload``), by container and path."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from aiohttp import web

from emulator.artifacts.payloads import artifact_payload, content_information_payload
from emulator.errors import not_found
from emulator.management.store import Workspace
from emulator.routing import Request, Route, answer
from emulator.service import Service

_ARTIFACTS = "/artifact/v2.0/{WS}/artifacts"


class ArtifactsService(Service):
    """An artifact is a blob named ``{origin}/{container}/{path}``: what lies there is what is listed."""

    def routes(self) -> list[Route]:
        container = "/{origin}/{container}"
        return [
            Route("POST", _ARTIFACTS + "/batch/metadata" + container, self.create),
            Route("GET", _ARTIFACTS + "/metadata" + container + "/{path:path}", self.metadata),
            Route("GET", _ARTIFACTS + "/contentinfo" + container + "/{path:path}", self.content_information),
            Route("GET", _ARTIFACTS + "/write" + container + "/{path:path}", self.write_address),
            Route("GET", _ARTIFACTS + "/prefix/contentinfo" + container + "/{path:path}", self.prefix),
            Route("GET", _ARTIFACTS + "/prefix/contentinfo" + container, self.prefix),
            Route("GET", _ARTIFACTS + container + "/{path:path}", self.artifacts),
            Route("GET", _ARTIFACTS + container, self.artifacts),
        ]

    def _storage_container(self, workspace: Workspace) -> str:
        return f"artifacts-{workspace.id}"

    def path(self, workspace: Workspace, origin: str, container: str, path: str) -> Path:
        """The file that holds an artifact, which need not be there.

        Raises:
            ServiceError: 400 when the name leaves its container.
        """
        return self.emulator.storage.path(self._storage_container(workspace), f"{origin}/{container}/{path}")

    def list(self, workspace: Workspace, origin: str, container: str, prefix: str = "") -> Sequence[str]:
        """Paths of the artifacts of a container, sorted: all, or the one named ``prefix``, or those below it."""
        root = self.path(workspace, origin, container, "")
        start = self.path(workspace, origin, container, prefix.strip("/"))
        if start.is_file():
            return [start.relative_to(root).as_posix()]
        found = (Path(folder, name) for folder, _, names in os.walk(start) for name in names)
        return sorted(file.relative_to(root).as_posix() for file in found)

    def download_url(self, workspace: Workspace, origin: str, container: str, path: str) -> str:
        return self.emulator.storage.download_url(self._storage_container(workspace), f"{origin}/{container}/{path}")

    def upload_url(self, workspace: Workspace, origin: str, container: str, path: str) -> str:
        return self.emulator.storage.upload_url(self._storage_container(workspace), f"{origin}/{container}/{path}")

    async def add_folder(self, workspace: Workspace, origin: str, container: str, path: str, folder: Path) -> None:
        """Copy every file of a folder to artifacts below ``path``, as a run's ./outputs are collected."""
        await asyncio.to_thread(self._copy_folder, folder, self.path(workspace, origin, container, path))

    def _copy_folder(self, folder: Path, target: Path) -> None:
        for parent, _, names in os.walk(folder):
            for file in (Path(parent, name) for name in names):
                if file.is_file():
                    destination = target / file.relative_to(folder)
                    destination.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(file, destination)

    def _names(self, request: Request) -> tuple[Workspace, str, str]:
        return request.workspace, request.params["origin"], request.params["container"]

    async def create(self, request: Request) -> web.Response:
        workspace, origin, container = self._names(request)
        paths = [item["path"] for item in (await request.json()).get("paths") or []]
        artifacts = {
            path: artifact_payload(origin, container, path, self.path(workspace, origin, container, path))
            for path in paths
        }
        contents = {
            path: content_information_payload(
                origin, container, path, self.upload_url(workspace, origin, container, path)
            )
            for path in paths
        }
        return answer({"artifacts": artifacts, "artifactContentInformation": contents, "errors": {}})

    def _existing(self, request: Request) -> Path:
        workspace, origin, container = self._names(request)
        file = self.path(workspace, origin, container, request.params["path"])
        if not file.is_file():
            raise not_found("Artifact", request.params["path"], f"container '{origin}/{container}'")
        return file

    async def metadata(self, request: Request) -> web.Response:
        _, origin, container = self._names(request)
        return answer(artifact_payload(origin, container, request.params["path"], self._existing(request)))

    async def content_information(self, request: Request) -> web.Response:
        self._existing(request)
        workspace, origin, container = self._names(request)
        path = request.params["path"]
        uri = self.download_url(workspace, origin, container, path)
        return answer(content_information_payload(origin, container, path, uri))

    async def write_address(self, request: Request) -> web.Response:
        workspace, origin, container = self._names(request)
        path = request.params["path"]
        uri = self.upload_url(workspace, origin, container, path)
        return answer(content_information_payload(origin, container, path, uri))

    async def prefix(self, request: Request) -> web.Response:
        workspace, origin, container = self._names(request)
        value = [
            content_information_payload(origin, container, path, self.download_url(workspace, origin, container, path))
            for path in self.list(workspace, origin, container, request.params.get("path", ""))
        ]
        return answer({"value": value, "continuationToken": None})

    async def artifacts(self, request: Request) -> web.Response:
        workspace, origin, container = self._names(request)
        value = [
            artifact_payload(origin, container, path, self.path(workspace, origin, container, path))
            for path in self.list(workspace, origin, container, request.params.get("path", ""))
        ]
        return answer({"value": value, "continuationToken": None})
