"""Project content: snapshots of source directories, of which the SDK sends only the files that have changed."""

from __future__ import annotations

import asyncio
import shutil
import uuid
import zipfile
from pathlib import Path
from urllib.parse import unquote, urlsplit

from aiohttp import web

from emulator.content.store import ContentStore, Snapshot, tree_paths
from emulator.errors import bad_request
from emulator.management.store import Workspace
from emulator.routing import Request, Route, answer
from emulator.service import Service

_SNAPSHOTS = "/content/v2.0/{WS}/snapshots"


class ContentService(Service):
    """Keeps the snapshots that runs are submitted with, and lays them out for the run's process."""

    @property
    def store(self) -> ContentStore:
        return ContentStore(self.state)

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/content/v1.0/{WS}/snapshots/latest/metadata", self.latest),
            Route("POST", _SNAPSHOTS + "/getblob", self.upload_addresses),
            Route("POST", _SNAPSHOTS + "/{snapshot}/zip", self.zip),
            Route("POST", _SNAPSHOTS + "/{snapshot}", self.create),
        ]

    def _storage_container(self, workspace: Workspace) -> str:
        return f"snapshots-{workspace.id}"

    async def latest(self, request: Request) -> web.Response:
        snapshot = self.store.latest(request.workspace)
        return answer({"id": snapshot.id, "root": snapshot.root})

    async def upload_addresses(self, request: Request) -> web.Response:
        container = self._storage_container(request.workspace)
        nodes = [
            {"fullName": name, "blobUri": self.emulator.storage.upload_url(container, f"files/{uuid.uuid4()}")}
            for name in (await request.json()).get("FileNames") or []
        ]
        return answer({"fileNodes": nodes})

    async def create(self, request: Request) -> web.Response:
        body = await request.json()
        nodes = (body.get("FileRevisionList") or {}).get("FileNodes") or []
        changed = {node["FullName"]: self._uploaded_blob(request.workspace, node) for node in nodes}
        snapshot = self.store.add(
            request.workspace,
            request.params["snapshot"],
            body["ParentSnapshotId"],
            body["DirTreeNode"],
            changed,
            body.get("Properties") or {},
        )
        return answer({"id": snapshot.id})

    def _uploaded_blob(self, workspace: Workspace, node: dict[str, str]) -> str:
        container = self._storage_container(workspace)
        prefix = f"/store/{container}/"
        path = unquote(urlsplit(node["BlobUri"]).path)
        blob = path.removeprefix(prefix)
        if not path.startswith(prefix) or not self.emulator.storage.path(container, blob).is_file():
            raise bad_request(f"File '{node['FullName']}' of the snapshot was not uploaded.")
        return blob

    async def zip(self, request: Request) -> web.Response:
        snapshot = self.store.snapshot(request.workspace, request.params["snapshot"])
        container, blob = self._storage_container(request.workspace), f"zips/{snapshot.id}.zip"
        target = self.emulator.storage.path(container, blob)
        if not target.is_file():
            await asyncio.to_thread(self._write_zip, request.workspace, snapshot, target)
        return answer({"zipSasUri": self.emulator.storage.download_url(container, blob)})

    def _files(self, workspace: Workspace, snapshot: Snapshot) -> list[tuple[str, Path]]:
        container = self._storage_container(workspace)
        return [(name, self.emulator.storage.path(container, blob)) for name, blob in snapshot.blobs.items()]

    def _write_zip(self, workspace: Workspace, snapshot: Snapshot, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f"{uuid.uuid4()}.partial")
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, source in self._files(workspace, snapshot):
                archive.write(source, name)
        partial.replace(target)

    async def restore(self, workspace: Workspace, snapshot_id: str, directory: Path) -> None:
        """Lay a snapshot out in a directory, which is made.

        Raises:
            ServiceError: 404 when there is no such snapshot; 400 when a name in it leaves the directory.
        """
        snapshot = self.store.snapshot(workspace, snapshot_id)
        await asyncio.to_thread(self._copy, workspace, snapshot, directory)

    def _copy(self, workspace: Workspace, snapshot: Snapshot, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        for path, is_file in tree_paths(snapshot.root):
            if path.is_absolute() or ".." in path.parts:
                raise bad_request(f"Snapshot '{snapshot.id}' has a file outside of its directory: '{path}'.")
            if not is_file:
                (directory / path).mkdir(exist_ok=True)
        for name, source in self._files(workspace, snapshot):
            shutil.copyfile(source, directory / name)
