"""Web services and operations as the model management service writes them; the SDK raises on every missing key."""

from __future__ import annotations

import hashlib
from typing import Any

from emulator.management.store import Workspace
from emulator.services.store import Operation, WebService


def service_payload(
    service: WebService, scoring_uri: str, models: list[dict[str, Any]], workspace_name: str
) -> dict[str, Any]:
    """A service in full.

    Args:
        service: as it is kept.
        scoring_uri: where it is reached; shown once something has been served there.
        models: the payloads of the models that it serves.
        workspace_name: names the namespace of an AKS service that was given none.
    """
    served = service.revision is not None
    payload = {
        **service.configuration,
        "id": service.name,
        "name": service.name,
        "state": service.state,
        "error": service.error,
        "createdTime": service.created,
        "updatedTime": service.updated,
        "createdBy": service.created_by,
        "imageId": service.image_id,
        "imageDigest": "sha256:" + hashlib.sha256(service.image_id.encode()).hexdigest(),
        "scoringUri": scoring_uri if served else None,
        "models": models,
        "modelConfigMap": {},
        "operationId": service.operation,
    }
    if service.configuration["computeType"] == "ACI":
        return {**payload, "publicIp": "127.0.0.1" if served else None, "publicFqdn": None, "sslKey": None}
    return {
        **payload,
        "namespace": service.configuration["namespace"] or f"azureml-{workspace_name}",
        "deploymentStatus": {"error": service.error},
        "isDefault": None,
        "trafficPercentile": None,
        "type": None,
    }


def operation_headers(url: str, workspace: Workspace, operation: Operation) -> dict[str, str]:
    """Where an operation is polled: the SDK takes only the last segment of the address."""
    return {"Operation-Location": f"{url}/modelmanagement/v1.0{workspace.arm_id}/operations/{operation.id}"}


def operation_payload(operation: Operation, log_url: str, offset: int) -> dict[str, Any]:
    """An operation; ``offset`` is how much of its progress the caller has read already (characters)."""
    return {
        "id": operation.id,
        "operationType": operation.kind,
        "state": operation.state,
        "createdTime": operation.created,
        "endTime": operation.ended,
        "error": operation.error,
        "resourceLocation": operation.resource,
        "parentRequestId": operation.id,
        "operationLog": log_url,
        "operationDetails": {"subOperationType": operation.stage},
        "streamingOperationLog": "#".join(operation.progress)[offset:],
    }
