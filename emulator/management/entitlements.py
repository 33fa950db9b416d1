"""What a subscription is entitled to: the resource providers that are registered, and quotas of virtual CPUs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from emulator.management.defaults import SUBSCRIPTION
from emulator.management.payloads import LOCATIONS
from emulator.management.store import Compute
from emulator.management.virtual_machines import SIZES, family, virtual_cpus

# Those that a workspace and its services need of Azure, by their names in lower case.
PROVIDERS = {
    name.lower(): name
    for name in (
        "Microsoft.MachineLearningServices",
        "Microsoft.Storage",
        "Microsoft.KeyVault",
        "Microsoft.Insights",
        "Microsoft.ContainerRegistry",
        "Microsoft.ContainerInstance",
        "Microsoft.ContainerService",
        "Microsoft.Compute",
        "Microsoft.Network",
    )
}

# What a new subscription of Azure may have; nothing here enforces it.
_FAMILY_LIMIT = 100
_TOTAL_LIMIT = 200

_TYPES = {"Microsoft.MachineLearningServices": ("workspaces", "workspaces/computes")}


def provider_payload(namespace: str, registered: bool) -> dict[str, Any]:
    """https://learn.microsoft.com/rest/api/resources/providers/get"""
    return {
        "id": f"/subscriptions/{SUBSCRIPTION}/providers/{namespace}",
        "namespace": namespace,
        "registrationState": "Registered" if registered else "NotRegistered",
        "resourceTypes": [
            {"resourceType": kind, "locations": list(LOCATIONS), "apiVersions": ["2021-07-01"]}
            for kind in _TYPES.get(namespace, ())
        ],
    }


def cluster_usages(computes: Iterable[tuple[Compute, int]]) -> list[dict[str, Any]]:
    """Virtual CPUs of AmlCompute clusters: https://learn.microsoft.com/rest/api/azureml/usages/list

    Args:
        computes: compute targets with their numbers of nodes.
    """
    dedicated, low_priority = _used(computes, "AmlCompute")
    names = [name.removeprefix("standard").removesuffix("Family") for name in _families()]
    kinds = (("Dedicated", dedicated, _FAMILY_LIMIT), ("LowPriority", low_priority, -1))
    usages = []
    for kind, used, limit in kinds:
        usages.append(_usage(f"Total Cluster {kind} Regional vCPUs", used.total(), _TOTAL_LIMIT))
        usages += [
            _usage(f"Standard {name} Family Cluster {kind} vCPUs", used[f"standard{name}Family"], limit)
            for name in names
        ]
    return usages


def machine_usages(computes: Iterable[tuple[Compute, int]]) -> list[dict[str, Any]]:
    """Virtual CPUs of virtual machines, AKS nodes among them: https://learn.microsoft.com/rest/api/compute/usage/list

    Args:
        computes: compute targets with their numbers of nodes.
    """
    used, _ = _used(computes, "AKS")
    return [_usage("cores", used.total(), _TOTAL_LIMIT), *(_usage(n, used[n], _FAMILY_LIMIT) for n in _families())]


def _families() -> list[str]:
    return sorted({family(size) for size in SIZES})


def _used(computes: Iterable[tuple[Compute, int]], kind: str) -> tuple[Counter[str], Counter[str]]:
    """Virtual CPUs by family, of dedicated machines and of those of low priority."""
    dedicated: Counter[str] = Counter()
    low_priority: Counter[str] = Counter()
    for compute, nodes in computes:
        if compute.compute_type == kind:
            size = str(compute.inner.get("vmSize") or compute.inner.get("agentVmSize"))
            lowly = str(compute.inner.get("vmPriority")).lower() == "lowpriority"
            (low_priority if lowly else dedicated)[family(size)] += nodes * virtual_cpus(size)
    return dedicated, low_priority


def _usage(name: str, used: int, limit: int) -> dict[str, Any]:
    return {
        "id": f"/subscriptions/{SUBSCRIPTION}/usages/{name.replace(' ', '_')}",
        "name": {"value": name, "localizedValue": name},
        "currentValue": used,
        "limit": limit,
        "unit": "Count",
    }
