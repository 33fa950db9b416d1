"""Data: the workspace's default datastore, and data sets, saved and registered by name and version."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aiohttp import web

from emulator.datasets.mltable import file_paths, text_file_paths
from emulator.datasets.payloads import datastore_payload, registered_dataset_payload, saved_dataset_payload
from emulator.datasets.store import DatasetStore, RegisteredDataset
from emulator.errors import ServiceError, not_found
from emulator.management.store import Workspace
from emulator.routing import Request, Route, answer
from emulator.service import Service
from emulator.state import utc_now
from emulator.storage.routes import ACCOUNT

DEFAULT_DATASTORE = "workspaceblobstore"
_DATASTORES = "/datastore/v1.0/{WS}"
_SAVED = "/dataset/v1.0/{WS}/saveddatasets"
_REGISTERED = "/dataset/v1.0/{WS}/datasets"


class DatasetsService(Service):
    """``Workspace.get_default_datastore`` and ``azureml.core.Dataset``."""

    @property
    def store(self) -> DatasetStore:
        return DatasetStore(self.state)

    def routes(self) -> list[Route]:
        return [
            Route("GET", _DATASTORES + "/default", self.default_datastore),
            Route("GET", _DATASTORES + "/datastores", self.datastores),
            Route("GET", _DATASTORES + "/datastores/{datastore}", self.datastore),
            Route("POST", _SAVED, self.save),
            Route("GET", _SAVED + "/{dataset}", self.saved),
            Route("GET", _REGISTERED, self.registered),
            Route("POST", _REGISTERED, self.register),
            Route("GET", _REGISTERED + "/query/name={dataset}", self.by_name),
            Route("GET", _REGISTERED + "/query/savedDatasetId={dataset}", self.by_saved_id),
            Route("PUT", _REGISTERED + "/{dataset}", self.update),
            Route("DELETE", _REGISTERED + "/{dataset}", self.unregister),
            Route("GET", "/data/v1.0/{WS}/dataversion/unregistered-{dataset}/versions/1", self.definition),
            Route("GET", "/data/v1.0/{WS}/dataversion/{dataset}/versions/{version}", self.asset),
        ]

    def rows(self, workspace: Workspace, dataset_id: str) -> list[str]:
        """The rows of a saved data set with one column, in order; empty lines are none.

        Raises:
            ServiceError: 404 when the data set or a file of it is not there, 501 when it is of another kind.
        """
        definition = self.store.get(workspace.id, dataset_id).definition
        container = self.emulator.storage.datastore_container(workspace.id)
        found: list[str] = []
        for path in text_file_paths(definition, workspace.name, DEFAULT_DATASTORE):
            file = self.emulator.storage.path(container, path)
            if not file.is_file():
                raise not_found("File", path, f"datastore '{DEFAULT_DATASTORE}'")
            try:
                lines = file.read_text(encoding="utf-8-sig").splitlines()
            except UnicodeDecodeError as error:
                raise ServiceError(400, "BadRequest", f"File '{path}' is not UTF-8 text: {error}.") from error
            found += [line for line in lines if line.strip()]
        return found

    def folder(self, workspace: Workspace, datastore: str | None) -> Path:
        """The folder that holds a datastore, by its name; ``None`` is the default one.

        Raises:
            ServiceError: 404.
        """
        if datastore not in (None, "", DEFAULT_DATASTORE):
            raise not_found("Datastore", str(datastore))
        folder = self.emulator.storage.path(self.emulator.storage.datastore_container(workspace.id), "x").parent
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def saved_id(self, workspace: Workspace, dataset_id: str | None, name: str | None, version: str | None) -> str:
        """The id of a saved data set, by itself or by the name and version under which it is registered.

        Raises:
            ServiceError: 404.
        """
        if dataset_id or not name:
            return self.store.get(workspace.id, dataset_id or "").id
        found = self.store.find(workspace.id, name)
        return found.saved_ids[found.version(None if version in (None, "", "latest") else version) - 1]

    def paths(self, workspace: Workspace, saved_id: str) -> list[str]:
        """The paths and patterns of a FileDataset in the default datastore.

        Raises:
            ServiceError: 404 when it is not there, 501 when it is of another kind.
        """
        return file_paths(self.store.get(workspace.id, saved_id).definition, workspace.name, DEFAULT_DATASTORE)

    def _default(self, workspace: Workspace) -> dict[str, Any]:
        storage = self.emulator.storage
        container = storage.datastore_container(workspace.id)
        return datastore_payload(
            DEFAULT_DATASTORE, ACCOUNT, container, storage.endpoint, storage.container_token(container)
        )

    async def default_datastore(self, request: Request) -> web.Response:
        return answer(self._default(request.workspace))

    async def datastores(self, request: Request) -> web.Response:
        return answer({"value": [self._default(request.workspace)]})

    async def datastore(self, request: Request) -> web.Response:
        self.folder(request.workspace, request.params["datastore"])
        return answer(self._default(request.workspace))

    async def save(self, request: Request) -> web.Response:
        return answer(saved_dataset_payload(self.store.save(request.workspace.id, await request.json())))

    async def saved(self, request: Request) -> web.Response:
        return answer(saved_dataset_payload(self.store.get(request.workspace.id, request.params["dataset"])))

    def _payload(self, workspace: Workspace, dataset: RegisteredDataset, version: int) -> dict[str, Any]:
        return registered_dataset_payload(
            dataset, version, self.store.get(workspace.id, dataset.saved_ids[version - 1])
        )

    async def registered(self, request: Request) -> web.Response:
        found = self.store.registered(request.workspace.id)
        value = [self._payload(request.workspace, one, one.last) for one in found]
        return answer({"value": value, "continuationToken": None})

    async def register(self, request: Request) -> web.Response:
        new_version = request.query.get("ifExistsOk", "").lower() == "true"
        dataset = self.store.register(request.workspace.id, await request.json(), new_version)
        return answer(self._payload(request.workspace, dataset, dataset.last))

    async def by_name(self, request: Request) -> web.Response:
        dataset = self.store.find(request.workspace.id, request.params["dataset"])
        return answer(self._payload(request.workspace, dataset, dataset.version(request.query.get("versionId"))))

    async def by_saved_id(self, request: Request) -> web.Response:
        saved_id = request.params["dataset"]
        value = [
            self._payload(request.workspace, one, one.saved_ids.index(saved_id) + 1)
            for one in self.store.registered(request.workspace.id)
            if saved_id in one.saved_ids
        ]
        return answer({"value": value, "continuationToken": None})

    async def update(self, request: Request) -> web.Response:
        """Description and tags, which are those of all versions."""
        body, old = await request.json(), self.store.find_by_id(request.workspace.id, request.params["dataset"])
        changes = {key: body[key] for key in ("description", "tags") if body.get(key) is not None}
        dataset = self.store.put(request.workspace.id, old.model_copy(update={**changes, "modified": utc_now()}))
        return answer(self._payload(request.workspace, dataset, dataset.last))

    async def unregister(self, request: Request) -> web.Response:
        self.store.unregister(request.workspace.id, request.params["dataset"])
        return answer({})

    async def definition(self, request: Request) -> web.Response:
        """What rslex reads: the data set as MLTable."""
        dataset = self.store.get(request.workspace.id, request.params["dataset"])
        return answer({"legacyDataflow": dataset.definition})

    async def asset(self, request: Request) -> web.Response:
        """A data asset of the SDK v2, which ``Dataset.get_by_name`` asks for last: there are none here."""
        raise not_found("Data asset", request.params["dataset"])
