"""What the model registry keeps: assets (which artifacts belong together) and models (versions of them)."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from emulator.errors import bad_request, not_found
from emulator.models.json_patch import apply_patch
from emulator.state import Record, State, utc_now

_ASSET_URL = "aml://asset/"
_CHANGEABLE = (
    "kvTags",
    "properties",
    "description",
    "datasets",
    "sampleInputData",
    "sampleOutputData",
    "resourceRequirements",
)


class _Kept(BaseModel):
    """Kept with the names that it has on the wire."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True)

    def record(self) -> Record:
        return self.model_dump(by_alias=True)


class Asset(_Kept):
    """Artifacts that belong together; ``artifacts`` are ``{"prefix": "origin/container/path"}`` or ``{"id": …}``."""

    id: str
    name: str
    artifacts: list[dict[str, str | None]]
    kv_tags: dict[str, str] = {}
    properties: dict[str, str] = {}
    runid: str | None = None
    meta: dict[str, str] = {}
    created_time: str


class Model(_Kept):
    """One version of a registered model (``azureml.core.Model``)."""

    name: str
    version: int
    url: str
    mime_type: str = "application/json"
    description: str | None = None
    framework: str = "Custom"
    framework_version: str | None = None
    unpack: bool = False
    experiment_name: str | None = None
    run_id: str | None = None
    kv_tags: dict[str, str] = {}
    properties: dict[str, str] = {}
    datasets: list[dict[str, str]] = []
    sample_input_data: str | None = None
    sample_output_data: str | None = None
    resource_requirements: dict[str, Any] | None = None
    created_time: str
    modified_time: str
    created_by: str

    @property
    def id(self) -> str:
        return f"{self.name}:{self.version}"

    @property
    def asset_id(self) -> str:
        return self.url.removeprefix(_ASSET_URL)


def has(values: Mapping[str, str], wanted: str | None) -> bool:
    """Whether ``values`` meet a filter ``key=value,key2`` (a key alone asks only that it is there)."""
    for part in filter(None, (wanted or "").split(",")):
        key, equals, value = part.partition("=")
        if key not in values or (equals and values[key] != value):
            return False
    return True


def matches(model: Model, query: Mapping[str, str]) -> bool:
    """Whether a model meets the filters of ``Model.list`` that speak of it alone (``latestVersionOnly`` does not)."""
    equal = {"name": model.name, "runId": model.run_id, "framework": model.framework}
    return (
        all(query.get(key) in (None, "", value) for key, value in equal.items())
        and has(model.kv_tags, query.get("tags") or query.get("tag"))
        and has(model.properties, query.get("properties"))
        and query.get("datasetId") in (None, "", *(dataset.get("id") for dataset in model.datasets))
    )


def select(models: list[Model], query: Mapping[str, str]) -> list[Model]:
    """The models that ``Model.list`` asks for, newest first unless ``orderBy`` says otherwise.

    Args:
        models: all of the workspace, oldest first.
        query: the parameters of the request.

    Raises:
        ServiceError: 400 for an order that Azure does not know.
    """
    if query.get("latestVersionOnly", "").lower() == "true":
        models = list({model.name: model for model in models}.values())
    found = [model for model in models if matches(model, query)]
    order = query.get("orderBy") or "CreatedAtDesc"
    if order.startswith("UpdatedAt"):
        found.sort(key=lambda model: model.modified_time)
    else:
        found.sort(key=lambda model: model.created_time)
    if order not in ("CreatedAtDesc", "CreatedAtAsc", "UpdatedAtDesc", "UpdatedAtAsc"):
        raise bad_request(f"'{order}' is not an order: it is CreatedAt or UpdatedAt with Desc or Asc.")
    return found[::-1] if order.endswith("Desc") else found


class ModelStore:
    """Assets and models by workspace id. Versions count up by name and are never used twice."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._assets = state.collection("assets")
        self._models = state.collection("models")

    def create_asset(self, workspace_id: str, body: Record) -> Asset:
        asset = Asset.model_validate(
            {
                **{key: value for key, value in body.items() if value is not None},
                "id": uuid.uuid4().hex,
                "createdTime": utc_now(),
            }
        )
        self._assets.put(workspace_id, asset.id, asset.record())
        return asset

    def assets(self, workspace_id: str) -> list[Asset]:
        return [Asset.model_validate(record) for record in self._assets.all(workspace_id)]

    def asset(self, workspace_id: str, asset_id: str) -> Asset:
        """
        Raises:
            ServiceError: 404.
        """
        record = self._assets.get(workspace_id, asset_id)
        if record is None:
            raise not_found("Asset", asset_id)
        return Asset.model_validate(record)

    def register(self, workspace_id: str, body: Record, created_by: str) -> Model:
        """The next version of a model.

        Raises:
            ServiceError: 400 when the body does not point at an asset, 404 when that is not there.
        """
        name, url = body.get("name"), str(body.get("url"))
        if not name or not url.startswith(_ASSET_URL):
            raise bad_request(
                f"A model needs a name and the url of an asset ({_ASSET_URL}…), not '{name}' and '{url}'."
            )
        self.asset(workspace_id, url.removeprefix(_ASSET_URL))
        now = utc_now()
        model = Model.model_validate(
            {
                **{key: value for key, value in body.items() if value is not None},
                "version": self._state.next_number(f"model/{name}", workspace_id),
                "createdTime": now,
                "modifiedTime": now,
                "createdBy": created_by,
            }
        )
        self._models.put(workspace_id, model.id, model.record())
        return model

    def models(self, workspace_id: str) -> list[Model]:
        """All models, oldest first."""
        return [Model.model_validate(record) for record in self._models.all(workspace_id)]

    def model(self, workspace_id: str, model_id: str) -> Model:
        """
        Raises:
            ServiceError: 404.
        """
        record = self._models.get(workspace_id, model_id)
        if record is None:
            raise not_found("Model", model_id)
        return Model.model_validate(record)

    def patch(self, workspace_id: str, model_id: str, operations: Any) -> Model:
        """Change tags, properties, description, data sets or resource requirements.

        Raises:
            ServiceError: 404; 400 for another member, or a patch that is none.
        """
        model = self.model(workspace_id, model_id)
        old = model.record()
        new = apply_patch(old, operations)
        if changed := [key for key in {**old, **new} if old.get(key) != new.get(key) and key not in _CHANGEABLE]:
            raise bad_request(f"{', '.join(changed)} of model '{model_id}' cannot be changed.")
        patched = Model.model_validate({**new, "modifiedTime": utc_now()})
        self._models.put(workspace_id, model_id, patched.record())
        return patched

    def delete(self, workspace_id: str, model_id: str) -> None:
        self.model(workspace_id, model_id)
        self._models.delete(workspace_id, model_id)
