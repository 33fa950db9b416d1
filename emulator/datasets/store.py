"""What the data service keeps: saved data sets (``Dataset`` objects that a client has used), and registered ones."""

from __future__ import annotations

import json
import uuid
from typing import Any

from pydantic import BaseModel, ConfigDict

from emulator.errors import ServiceError, bad_request, not_found
from emulator.state import Record, State, utc_now


class SavedDataset(BaseModel):
    """One saved data set.

    Attributes:
        dataflow_json: as the SDK wrote it; the definition proper is the YAML in its ``meta.RsDataflow``.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    dataset_type: str
    dataflow_json: str
    properties: dict[str, Any] = {}

    @property
    def definition(self) -> str:
        """The data set as an MLTable document (YAML)."""
        try:
            return str(json.loads(self.dataflow_json)["meta"]["RsDataflow"])
        except (ValueError, KeyError, TypeError) as error:
            raise bad_request(f"Data set '{self.id}' has no MLTable definition in its dataflow: {error!r}.") from error


class RegisteredDataset(BaseModel):
    """A name in the workspace (``Dataset.register``), and the saved data sets that are its versions 1, 2, 3 …"""

    model_config = ConfigDict(frozen=True)

    id: str
    name: str
    description: str | None = None
    tags: dict[str, str] = {}
    saved_ids: tuple[str, ...]
    created: str
    modified: str

    def version(self, version: str | None) -> int:
        """That version, or the latest.

        Raises:
            ServiceError: 404.
        """
        if version is None:
            return len(self.saved_ids)
        if not version.isdecimal() or not 0 < int(version) <= len(self.saved_ids):
            raise not_found(f"Version {version} of data set", self.name, f"this workspace, which has {self.last} of it")
        return int(version)

    @property
    def last(self) -> int:
        return len(self.saved_ids)


class DatasetStore:
    """Data sets by workspace id. A saved one with the same content as another is that one."""

    def __init__(self, state: State) -> None:
        self._saved = state.collection("saved_datasets")
        self._registered = state.collection("registered_datasets")

    def registered(self, workspace_id: str) -> list[RegisteredDataset]:
        return [RegisteredDataset.model_validate(record) for record in self._registered.all(workspace_id)]

    def find(self, workspace_id: str, name: str) -> RegisteredDataset:
        """
        Raises:
            ServiceError: 404.
        """
        record = self._registered.get(workspace_id, name)
        if record is None:
            have = ", ".join(one.name for one in self.registered(workspace_id)) or "none"
            raise not_found("Data set", name, f"this workspace, which has: {have}")
        return RegisteredDataset.model_validate(record)

    def find_by_id(self, workspace_id: str, registered_id: str) -> RegisteredDataset:
        """
        Raises:
            ServiceError: 404.
        """
        found = next((one for one in self.registered(workspace_id) if one.id == registered_id), None)
        if found is None:
            raise not_found("Data set", registered_id)
        return found

    def register(self, workspace_id: str, body: Record, new_version: bool) -> RegisteredDataset:
        """Give a data set a name, or a name its next version; its latest version again makes no new one.

        Args:
            workspace_id: of the data set.
            body: ``DatasetDto``.
            new_version: whether the name may have versions already.

        Raises:
            ServiceError: 409 for a name that is taken, 400 for a data set that has a name already.
        """
        name, latest = str(body["name"]), body.get("latest") or {}
        saved = self.save(
            workspace_id,
            {
                "dataflowJson": latest.get("dataflow"),
                "datasetType": body.get("datasetType"),
                "properties": latest.get("properties"),
            },
        )
        old = next((one for one in self.registered(workspace_id) if one.name == name), None)
        if old is not None and not new_version:
            raise ServiceError(409, "Conflict", f"A data set '{name}' is registered: ask for a new version of it.")
        for other in self.registered(workspace_id):
            if saved.id in other.saved_ids and (other.name != name or saved.id != other.saved_ids[-1]):
                version = other.saved_ids.index(saved.id) + 1
                raise bad_request(f"The data set has been registered as {other.name}:{version} (name:version).")
        known = () if old is None else old.saved_ids
        now = utc_now()
        dataset = RegisteredDataset(
            id=old.id if old else str(uuid.uuid4()),
            name=name,
            description=body.get("description") or (old.description if old else None),
            tags={**(old.tags if old else {}), **(body.get("tags") or {})},
            saved_ids=known if known and known[-1] == saved.id else (*known, saved.id),
            created=old.created if old else now,
            modified=now,
        )
        return self.put(workspace_id, dataset)

    def put(self, workspace_id: str, dataset: RegisteredDataset) -> RegisteredDataset:
        self._registered.put(workspace_id, dataset.name, dataset.model_dump())
        return dataset

    def unregister(self, workspace_id: str, name: str) -> None:
        """
        Raises:
            ServiceError: 404.
        """
        self.find(workspace_id, name)
        self._registered.delete(workspace_id, name)

    def save(self, workspace_id: str, body: Record) -> SavedDataset:
        dataflow = str(body.get("dataflowJson") or "")
        dataset = SavedDataset(
            id=str(uuid.uuid5(uuid.NAMESPACE_OID, dataflow)),
            dataset_type=str(body.get("datasetType")),
            dataflow_json=dataflow,
            properties=body.get("properties") or {},
        )
        self._saved.put(workspace_id, dataset.id, dataset.model_dump())
        return dataset

    def get(self, workspace_id: str, dataset_id: str) -> SavedDataset:
        """
        Raises:
            ServiceError: 404.
        """
        record = self._saved.get(workspace_id, dataset_id)
        if record is None:
            raise not_found("Data set", dataset_id)
        return SavedDataset.model_validate(record)
