"""Web services and operations as the model management service writes them; the SDK raises on every missing key."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from emulator.management.store import Workspace
from emulator.services.store import Operation, WebService


def service_payload(
    service: WebService,
    scoring_uri: str,
    health: Mapping[str, str],
    models: Mapping[str, list[dict[str, Any]]],
    workspace_name: str,
) -> dict[str, Any]:
    """A service in full.

    Args:
        service: as it is kept.
        scoring_uri: where it is reached; shown once something has been served there.
        health: the state of each of its containers; of an endpoint also of versions that are still on their way.
        models: the payloads of the models that each of them serves.
        workspace_name: names the namespace of an AKS service that was given none.
    """
    configuration = service.configuration
    common = {
        "id": service.name,
        "name": service.name,
        "state": service.state,
        "error": service.error,
        "createdTime": service.created,
        "updatedTime": service.updated,
        "createdBy": service.created_by,
        "scoringUri": scoring_uri if service.revisions else None,
        "operationId": service.operation,
    }
    on_aks = {
        "namespace": configuration.get("namespace") or f"azureml-{workspace_name}",
        "deploymentStatus": {"error": service.error},
    }
    if configuration["computeType"] == "ACI":
        address = {"publicIp": "127.0.0.1" if service.revisions else None, "publicFqdn": None}
        secrets = {"sslCertificate": None, "sslKey": None}
        return {**configuration, **common, **_image(service, "", models), **address, **secrets}
    if configuration["computeType"] == "AKS":
        standing = {"isDefault": None, "trafficPercentile": None, "type": None}
        return {**configuration, **common, **_image(service, "", models), **on_aks, **standing}
    known = {**service.desired.get("versions", {}), **configuration["versions"]}
    versions = {
        name: {
            **version,
            **common,
            **_image(service, name, models),
            **on_aks,
            "id": f"{service.name}/{name}",
            "name": name,
            "state": health[name],
            "scoringUri": version_uri(scoring_uri, name) if name in service.revisions else None,
        }
        for name, version in known.items()
    }
    return {**configuration, **common, **on_aks, "versions": versions}


def version_uri(scoring_uri: str, version: str) -> str:
    """Where one version of an endpoint is reached, whatever the endpoint's traffic."""
    endpoint, _, last = scoring_uri.rpartition("/")
    return f"{endpoint}/versions/{version}/{last}"


def _image(service: WebService, container: str, models: Mapping[str, list[dict[str, Any]]]) -> dict[str, Any]:
    image_id = service.image_id(container)
    return {
        "imageId": image_id,
        "imageDigest": "sha256:" + hashlib.sha256(image_id.encode()).hexdigest(),
        "models": models[container],
        "modelConfigMap": {},
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
