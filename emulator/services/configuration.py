"""What a web service is configured to be. The SDK drops keys and sends null for "default": defaults are filled here.

The defaults are those of ``AciWebservice.deploy_configuration`` and ``AksWebservice.deploy_configuration``.
"""

from __future__ import annotations

import re
from typing import Any

from emulator.environments.store import without_registry_password
from emulator.errors import bad_request, not_emulated

Configuration = dict[str, Any]
"""A service's settings by their names on the wire."""

_BASE: Configuration = {
    "description": None,
    "kvTags": {},
    "properties": {},
    "environmentImageRequest": None,
    "appInsightsEnabled": False,
    "dataCollection": {"storageEnabled": False, "eventHubEnabled": False},
}
_ACI: Configuration = {
    **_BASE,
    "computeType": "ACI",
    "location": None,
    "authEnabled": False,
    "containerResourceRequirements": {"cpu": 0.1, "memoryInGB": 0.5},
    "sslEnabled": False,
    "sslCertificate": None,
    "cname": None,
    "dnsNameLabel": None,
    "encryptionProperties": None,
    "vnetConfiguration": None,
}
_AKS: Configuration = {
    **_BASE,
    "computeType": "AKS",
    "computeName": None,
    "namespace": None,
    "authEnabled": None,
    "aadAuthEnabled": False,
    "numReplicas": None,
    "autoScaler": {
        "autoscaleEnabled": None,
        "minReplicas": 1,
        "maxReplicas": 10,
        "refreshPeriodInSeconds": 1,
        "targetUtilization": 70,
    },
    "containerResourceRequirements": {
        "cpu": 0.1,
        "cpuLimit": None,
        "memoryInGB": 0.5,
        "memoryInGBLimit": None,
        "gpu": None,
    },
    "livenessProbeRequirements": {
        "periodSeconds": 10,
        "initialDelaySeconds": 310,
        "timeoutSeconds": 2,
        "successThreshold": 1,
        "failureThreshold": 3,
    },
    "scoringTimeoutMs": 60000,
    "maxConcurrentRequestsPerContainer": 1,
    "maxQueueWaitMs": 500,
    "storageInitEnabled": None,
}
_LONGEST_START_SECONDS = 120.0


def check_name(name: str) -> None:
    """
    Raises:
        ServiceError: 400 for a name that Azure refuses.
    """
    if not re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name) or not 3 <= len(name) <= 32:
        raise bad_request(
            f"'{name}' is not a name of a service: 3 to 32 lower-case letters, digits and dashes, starting with a "
            "letter and ending with a letter or a digit."
        )


def _filled(given: Any, defaults: Any) -> Any:
    if isinstance(defaults, dict) and defaults:
        values = given or {}
        return {key: _filled(values.get(key), default) for key, default in defaults.items()}
    return defaults if given is None else given


def _check_image_request(request: Any) -> None:
    if not isinstance(request, dict):
        raise not_emulated("services made from an image, only from an environment")
    if not request.get("environment"):
        raise not_emulated("no-code deployment: pass an InferenceConfig with an Environment")


def complete(body: Configuration, location: str, before: Configuration | None = None) -> Configuration:
    """The whole configuration that a request to create or change a service means.

    Args:
        body: as sent, or as changed by a JSON Patch.
        location: of the workspace.
        before: what the service was configured to be, when it is changed.

    Raises:
        ServiceError: 400 for settings that contradict each other, 501 for what is not emulated.
    """
    compute_type = body.get("computeType")
    if compute_type not in ("ACI", "AKS"):
        raise not_emulated(f"services of type {compute_type}, only ACI and AKS")
    request = body.get("environmentImageRequest")
    _check_image_request(request)
    environment = without_registry_password(request["environment"])
    body = {**body, "environmentImageRequest": {**request, "environment": environment}}
    if compute_type == "AKS":
        return _complete_aks(body, before)
    configuration: Configuration = _filled(body, _ACI)
    configuration["location"] = configuration["location"] or location
    return configuration


def _complete_aks(body: Configuration, before: Configuration | None) -> Configuration:
    configuration: Configuration = _filled(body, _AKS)
    if not configuration["computeName"]:
        raise bad_request("An AKS service needs a deployment target: pass deployment_target or compute_target_name.")
    if configuration["authEnabled"] is None:
        configuration["authEnabled"] = not configuration["aadAuthEnabled"]
    if configuration["authEnabled"] and configuration["aadAuthEnabled"]:
        raise bad_request("Key authentication and token authentication cannot both be enabled.")
    replicas, scaler = configuration["numReplicas"], configuration["autoScaler"]
    if scaler["autoscaleEnabled"] is None:
        scaler["autoscaleEnabled"] = replicas is None
    if scaler["autoscaleEnabled"]:
        if replicas is not None and (before is None or replicas != before["numReplicas"]):
            raise bad_request(
                "numReplicas cannot be set while autoscaling is on: pass autoscale_enabled=False with num_replicas."
            )
        configuration["numReplicas"] = None
        if scaler["minReplicas"] > scaler["maxReplicas"]:
            raise bad_request("The autoscaler's minReplicas is more than its maxReplicas.")
    elif replicas is None or replicas < 1:
        raise bad_request("Without autoscaling, numReplicas has to be at least 1.")
    return configuration


def replica_count(configuration: Configuration) -> int:
    """How many replicas serve: one on ACI; on AKS as configured, or the fewest that the autoscaler allows."""
    if configuration["computeType"] == "ACI":
        return 1
    scaler = configuration["autoScaler"]
    return int(scaler["minReplicas"] if scaler["autoscaleEnabled"] else configuration["numReplicas"])


def start_seconds(configuration: Configuration) -> float:
    """How long a replica may take until it is ready."""
    probe = configuration.get("livenessProbeRequirements")
    return min(_LONGEST_START_SECONDS, float(probe["initialDelaySeconds"])) if probe else _LONGEST_START_SECONDS


def model_ids(configuration: Configuration) -> list[str]:
    return list(configuration["environmentImageRequest"].get("modelIds") or [])
