"""What a web service is configured to be. The SDK drops keys and sends null for "default": defaults are filled here.

The defaults are those of ``deploy_configuration`` of ``AciWebservice``, ``AksWebservice`` and ``AksEndpoint``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from emulator.certificates import check_certificate
from emulator.environments.store import without_registry_password
from emulator.errors import ServiceError, bad_request, not_emulated
from emulator.services.traffic import check_versions, shares, with_default

Configuration = dict[str, Any]
"""A service's settings by their names on the wire."""

_DESCRIPTION: Configuration = {"description": None, "kvTags": {}, "properties": {}, "appInsightsEnabled": False}
_BASE: Configuration = {
    **_DESCRIPTION,
    "environmentImageRequest": None,
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
    "sslKey": None,
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
_ENDPOINT: Configuration = {
    **_DESCRIPTION,
    "computeType": "AKSENDPOINT",
    "computeName": None,
    "namespace": None,
    "authEnabled": None,
    "aadAuthEnabled": False,
    "versions": {},
}
_VERSION: Configuration = {**_AKS, "trafficPercentile": 0, "isDefault": False, "type": "Treatment"}
_OF_THE_ENDPOINT = ("computeName", "namespace", "authEnabled", "aadAuthEnabled")
_WHOLE_NUMBERS = (
    ("numReplicas",),
    ("scoringTimeoutMs",),
    ("maxConcurrentRequestsPerContainer",),
    ("maxQueueWaitMs",),
    *(("autoScaler", name) for name in ("minReplicas", "maxReplicas", "refreshPeriodInSeconds", "targetUtilization")),
    *(("livenessProbeRequirements", name) for name in _AKS["livenessProbeRequirements"]),
)
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


def _without_secrets(body: Configuration) -> Configuration:
    """What is served, without what it would take to pull its image.

    Raises:
        ServiceError: 501 for a service that is not made from an environment.
    """
    request = body.get("environmentImageRequest")
    if not isinstance(request, dict):
        raise not_emulated("services made from an image, only from an environment")
    if not request.get("environment"):
        raise not_emulated("no-code deployment: pass an InferenceConfig with an Environment")
    environment = without_registry_password(request["environment"])
    return {**body, "environmentImageRequest": {**request, "environment": environment}}


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
    if compute_type == "AKSENDPOINT":
        return _complete_endpoint(body, before)
    if compute_type not in ("ACI", "AKS"):
        raise not_emulated(f"services of type {compute_type}, only ACI, AKS and AKSENDPOINT")
    body = _without_secrets(body)
    if compute_type == "AKS":
        return _complete_aks(_filled(body, _AKS), before)
    configuration: Configuration = _filled(body, _ACI)
    configuration["location"] = configuration["location"] or location
    if configuration["sslEnabled"]:
        if not (configuration["sslCertificate"] and configuration["sslKey"] and configuration["cname"]):
            raise bad_request("TLS needs all of certificate, key and cname.")
        check_certificate(configuration["sslCertificate"], configuration["sslKey"])
    return configuration


def _settle_authentication(configuration: Configuration) -> None:
    if not configuration["computeName"]:
        raise bad_request("An AKS service needs a deployment target: pass deployment_target or compute_target_name.")
    if configuration["authEnabled"] is None:
        configuration["authEnabled"] = not configuration["aadAuthEnabled"]
    if configuration["authEnabled"] and configuration["aadAuthEnabled"]:
        raise bad_request("Key authentication and token authentication cannot both be enabled.")


def _complete_endpoint(body: Configuration, before: Configuration | None) -> Configuration:
    configuration: Configuration = _filled(body, _ENDPOINT)
    _settle_authentication(configuration)
    common = {name: configuration[name] for name in _OF_THE_ENDPOINT}
    former = before["versions"] if before else {}
    versions = {}
    for name, version in configuration["versions"].items():
        check_name(name)
        whole = {**_filled(_without_secrets(version), _VERSION), "computeType": "AKS", **common}
        try:
            versions[name] = _complete_aks(whole, former.get(name))
        except ServiceError as error:
            raise bad_request(f"Version '{name}': {error.message}") from error
    configuration["versions"] = versions if before else with_default(versions)
    check_versions(configuration["versions"])
    return configuration


def _complete_aks(configuration: Configuration, before: Configuration | None) -> Configuration:
    _settle_authentication(configuration)
    for path in _WHOLE_NUMBERS:
        value: Any = configuration
        for name in path:
            value = value[name]
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise bad_request(f"{path[-1]} is {value!r}: it is a whole number and at least 1.")
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
        if scaler["targetUtilization"] > 100:
            raise bad_request("The autoscaler's targetUtilization is a percentage: it is at most 100.")
    elif replicas is None:
        raise bad_request("Without autoscaling, numReplicas has to be at least 1.")
    return configuration


def containers(configuration: Configuration) -> dict[str, Configuration]:
    """What a service consists of: the versions of an endpoint by their names, of another service itself, as ``""``."""
    if configuration["computeType"] == "AKSENDPOINT":
        return dict(configuration["versions"])
    return {"": configuration}


def traffic(configuration: Configuration) -> dict[str, float]:
    """The percentage of the requests that each of :func:`containers` gets."""
    return shares(configuration["versions"]) if configuration["computeType"] == "AKSENDPOINT" else {"": 100.0}


@dataclass(frozen=True)
class Scaling:
    """Between how many replicas the autoscaler chooses, how often (seconds), and how busy they should be (0 to 1)."""

    least: int
    most: int
    refresh_seconds: float
    utilization: float


@dataclass(frozen=True)
class LivenessProbe:
    """How a replica that hangs is found, as Kubernetes has it. Times are seconds, thresholds are probes in a row."""

    initial_delay: float
    period: float
    timeout: float
    success_threshold: int
    failure_threshold: int


@dataclass(frozen=True)
class ServingPolicy:
    """How replicas of one container serve. It can change while they do.

    Attributes:
        replicas: how many; with ``scaling``, how many at first.
        start_seconds: how long a replica may take until it is ready.
        scaling: ``None`` when the number is fixed.
        probe: ``None`` on ACI, for which Azure ML sets up none.
        max_concurrent: requests that a replica is given at a time; ``None`` is as many as there are.
        queue_seconds: how long a request waits until a replica may take it.
        timeout_seconds: of one call; ``None`` is as long as it takes.
    """

    replicas: int
    start_seconds: float = _LONGEST_START_SECONDS
    scaling: Scaling | None = None
    probe: LivenessProbe | None = None
    max_concurrent: int | None = None
    queue_seconds: float = 0.0
    timeout_seconds: float | None = None

    def count(self, present: int) -> int:
        """How many replicas there should be when there are ``present`` ones and nothing is known of the load."""
        if self.scaling is None:
            return self.replicas
        return min(max(present, self.scaling.least), self.scaling.most)


def serving_policy(configuration: Configuration) -> ServingPolicy:
    """
    Args:
        configuration: one of :func:`containers`.
    """
    if configuration["computeType"] == "ACI":
        return ServingPolicy(replicas=1)
    scaler, wanted = configuration["autoScaler"], configuration["livenessProbeRequirements"]
    scaling = Scaling(
        least=scaler["minReplicas"],
        most=scaler["maxReplicas"],
        refresh_seconds=scaler["refreshPeriodInSeconds"],
        utilization=scaler["targetUtilization"] / 100,
    )
    probe = LivenessProbe(
        initial_delay=wanted["initialDelaySeconds"],
        period=wanted["periodSeconds"],
        timeout=wanted["timeoutSeconds"],
        success_threshold=wanted["successThreshold"],
        failure_threshold=wanted["failureThreshold"],
    )
    given_up = probe.initial_delay + (probe.failure_threshold - 1) * probe.period + probe.timeout
    return ServingPolicy(
        replicas=scaling.least if scaler["autoscaleEnabled"] else configuration["numReplicas"],
        start_seconds=min(_LONGEST_START_SECONDS, given_up),
        scaling=scaling if scaler["autoscaleEnabled"] else None,
        probe=probe,
        max_concurrent=configuration["maxConcurrentRequestsPerContainer"],
        queue_seconds=configuration["maxQueueWaitMs"] / 1000,
        timeout_seconds=configuration["scoringTimeoutMs"] / 1000,
    )


def same_image(one: Configuration | None, other: Configuration) -> bool:
    """Whether two of :func:`containers` are made of the same models, entry script and environment."""
    return one is not None and one["environmentImageRequest"] == other["environmentImageRequest"]


def model_ids(configuration: Configuration) -> list[str]:
    """The models of a service, of an endpoint those of all its versions."""
    found = [
        model_id
        for container in containers(configuration).values()
        for model_id in container["environmentImageRequest"].get("modelIds") or []
    ]
    return list(dict.fromkeys(found))
