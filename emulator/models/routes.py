"""Model management: assets and registered models."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from emulator.errors import ServiceError, bad_request
from emulator.management.store import Workspace
from emulator.models.files import asset_files
from emulator.models.payloads import asset_payload, model_payload
from emulator.models.store import Model, ModelStore, select
from emulator.routing import Request, Route, answer
from emulator.service import Service

MMS = "/modelmanagement/v1.0/{WS}"
"""Of the model management service: models, web services, profiles and their operations."""

_PAGE = 255  # models at a time, the most that the SDK asks for


class ModelsService(Service):
    """The model registry (``azureml.core.Model``)."""

    @property
    def store(self) -> ModelStore:
        return ModelStore(self.state)

    def routes(self) -> list[Route]:
        return [
            Route("POST", MMS + "/assets", self.create_asset),
            Route("GET", MMS + "/assets", self.list_assets),
            Route("GET", MMS + "/assets/{asset}", self.get_asset),
            Route("POST", MMS + "/models", self.register),
            Route("GET", MMS + "/models", self.list_models),
            Route("GET", MMS + "/models/{model}", self.get_model),
            Route("PATCH", MMS + "/models/{model}", self.patch_model),
            Route("DELETE", MMS + "/models/{model}", self.delete_model),
        ]

    def files(self, workspace: Workspace, model: Model) -> dict[str, Path]:
        """The files of a model by their path below its version's directory."""
        asset = self.store.asset(workspace.id, model.asset_id)
        return asset_files(self.emulator.artifacts, workspace, asset)

    async def create_asset(self, request: Request) -> web.Response:
        return answer(asset_payload(self.store.create_asset(request.workspace.id, await request.json())))

    async def list_assets(self, request: Request) -> web.Response:
        name, run_id = request.query.get("name"), request.query.get("runId")
        found = [
            asset
            for asset in self.store.assets(request.workspace.id)
            if name in (None, asset.name) and run_id in (None, asset.runid)
        ]
        return answer({"value": [asset_payload(asset) for asset in found]})

    async def get_asset(self, request: Request) -> web.Response:
        return answer(asset_payload(self.store.asset(request.workspace.id, request.params["asset"])))

    async def register(self, request: Request) -> web.Response:
        principal = self.emulator.identity.verify(request.http.headers.get("Authorization"))
        model = self.store.register(request.workspace.id, await request.json(), principal.name)
        return answer(model_payload(model))

    async def list_models(self, request: Request) -> web.Response:
        found = select(self.store.models(request.workspace.id), request.query)
        if last := request.query.get("$skipToken"):
            ids = [model.id for model in found]
            if last not in ids:
                raise bad_request(f"The page after model '{last}' is gone with that model: list again.")
            found = found[ids.index(last) + 1 :]
        size = int(request.query.get("count") or _PAGE)
        page = found[:size]
        payload: dict[str, Any] = {"value": [model_payload(model) for model in page]}
        if len(found) > size:
            query = urlencode({**request.query, "$skipToken": page[-1].id})
            payload["nextLink"] = f"{self.emulator.url}{request.http.path}?{query}"
        return answer(payload)

    async def get_model(self, request: Request) -> web.Response:
        return answer(model_payload(self.store.model(request.workspace.id, request.params["model"])))

    async def patch_model(self, request: Request) -> web.Response:
        model = self.store.patch(request.workspace.id, request.params["model"], await request.json())
        return answer(model_payload(model))

    async def delete_model(self, request: Request) -> web.Response:
        model_id = request.params["model"]
        model = self.store.model(request.workspace.id, model_id)
        if services := self.emulator.services.names_using(request.workspace, model.id):
            raise ServiceError(
                412,
                "DeletionRequired",
                f"Model '{model_id}' cannot be deleted: web service {', '.join(services)} uses it. Delete or "
                "update the service first.",
            )
        self.store.delete(request.workspace.id, model_id)
        return answer({})
