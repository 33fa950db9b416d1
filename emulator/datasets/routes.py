"""Data: the workspace's default datastore, and saved data sets as far as ``Model.profile`` needs them."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from emulator.datasets.mltable import text_file_paths
from emulator.datasets.payloads import datastore_payload, saved_dataset_payload
from emulator.datasets.store import DatasetStore
from emulator.errors import ServiceError, not_found
from emulator.management.store import Workspace
from emulator.routing import Request, Route, answer
from emulator.service import Service
from emulator.storage.routes import ACCOUNT

DEFAULT_DATASTORE = "workspaceblobstore"
_DATASTORES = "/datastore/v1.0/{WS}"
_SAVED = "/dataset/v1.0/{WS}/saveddatasets"


class DatasetsService(Service):
    """``Workspace.get_default_datastore`` and what ``Dataset.Tabular`` asks when it is used unregistered."""

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
            Route("GET", "/data/v1.0/{WS}/dataversion/unregistered-{dataset}/versions/1", self.definition),
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
        if request.params["datastore"] != DEFAULT_DATASTORE:
            raise not_found("Datastore", request.params["datastore"])
        return answer(self._default(request.workspace))

    async def save(self, request: Request) -> web.Response:
        return answer(saved_dataset_payload(self.store.save(request.workspace.id, await request.json())))

    async def saved(self, request: Request) -> web.Response:
        return answer(saved_dataset_payload(self.store.get(request.workspace.id, request.params["dataset"])))

    async def definition(self, request: Request) -> web.Response:
        """What rslex reads: the data set as MLTable."""
        dataset = self.store.get(request.workspace.id, request.params["dataset"])
        return answer({"legacyDataflow": dataset.definition})
