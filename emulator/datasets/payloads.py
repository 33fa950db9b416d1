"""Datastores and saved data sets as the SDK and rslex, its reader, want to read them."""

from __future__ import annotations

from typing import Any

from emulator.datasets.store import SavedDataset


def datastore_payload(name: str, account: str, container: str, endpoint: str, token: str) -> dict[str, Any]:
    """A blob datastore; ``token`` is a SAS for its container."""
    return {
        "name": name,
        "dataStoreType": "AzureBlob",
        "hasBeenValidated": True,
        "tags": {},
        "azureStorageSection": {
            "accountName": account,
            "containerName": container,
            "endpoint": endpoint,
            "protocol": "https",
            "credentialType": "Sas",
            "credential": token,
            "sasToken": token,
            "isSas": True,
            "accountKey": "",
            "blobCacheTimeout": 0,
            "subscriptionId": "",
            "resourceGroup": "",
            "serviceDataAccessAuthIdentity": "None",
        },
    }


def saved_dataset_payload(dataset: SavedDataset) -> dict[str, Any]:
    return {
        "id": dataset.id,
        "datasetType": dataset.dataset_type,
        "dataflowJson": dataset.dataflow_json,
        "properties": dataset.properties,
    }
