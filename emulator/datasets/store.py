"""What the data service keeps: saved data sets (``Dataset`` objects that a client has used, registered or not)."""

from __future__ import annotations

import json
import uuid
from typing import Any

from pydantic import BaseModel, ConfigDict

from emulator.errors import bad_request, not_found
from emulator.state import Record, State


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


class DatasetStore:
    """Saved data sets by workspace id. One with the same content as another is that one."""

    def __init__(self, state: State) -> None:
        self._saved = state.collection("saved_datasets")

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
