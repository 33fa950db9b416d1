"""Datastores and saved data sets as the SDK and rslex, its reader, want to read them."""

from __future__ import annotations

from typing import Any

from emulator.datasets.store import RegisteredDataset, SavedDataset


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


def registered_dataset_payload(dataset: RegisteredDataset, version: int, saved: SavedDataset) -> dict[str, Any]:
    """``DatasetDto``; ``latest`` is the version that was asked for."""
    return {
        "datasetId": dataset.id,
        "name": dataset.name,
        "description": dataset.description,
        "tags": dataset.tags,
        "isVisible": True,
        "datasetType": saved.dataset_type,
        "createdTime": dataset.created,
        "modifiedTime": dataset.modified,
        "latest": {
            "datasetId": dataset.id,
            "versionId": str(version),
            "savedDatasetId": saved.id,
            "dataflow": saved.dataflow_json,
            "properties": saved.properties,
        },
    }
