"""How an endpoint (``azureml.core.webservice.AksEndpoint``) splits its requests among its versions.

https://learn.microsoft.com/azure/machine-learning/v1/how-to-deploy-azure-kubernetes-service, "controlled rollout".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from emulator.errors import bad_request

MOST_VERSIONS = 6
_TYPES = ("Control", "Treatment")


def with_default(versions: dict[str, Any]) -> dict[str, Any]:
    """The first version of a new endpoint is its default unless another one is said to be."""
    if not versions or any(version["isDefault"] for version in versions.values()):
        return versions
    first = next(iter(versions))
    return {**versions, first: {**versions[first], "isDefault": True}}


def check_versions(versions: Mapping[str, Any]) -> None:
    """
    Raises:
        ServiceError: 400 for versions that cannot be behind one endpoint, with the reason.
    """
    if not versions:
        raise bad_request("An endpoint needs a version: delete the endpoint and not its last version.")
    if len(versions) > MOST_VERSIONS:
        raise bad_request(f"An endpoint has at most {MOST_VERSIONS} versions, not {len(versions)}: delete one first.")
    for name, version in versions.items():
        percentile = version["trafficPercentile"]
        if isinstance(percentile, bool) or not isinstance(percentile, (int, float)) or not 0 <= percentile <= 100:
            raise bad_request(f"Version '{name}' has a traffic percentile of {percentile!r}: it is from 0 to 100.")
        if version["type"] not in _TYPES:
            raise bad_request(f"Version '{name}' is of type {version['type']!r}: it is Control or Treatment.")
    total = sum(version["trafficPercentile"] for version in versions.values())
    if total > 100:
        each = ", ".join(f"{name} {version['trafficPercentile']:g}" for name, version in versions.items())
        raise bad_request(
            f"The versions' traffic percentiles sum to {total:g} ({each}), and to 100 at most: lower another one first."
        )
    defaults = [name for name, version in versions.items() if version["isDefault"]]
    if len(defaults) != 1:
        raise bad_request(
            f"An endpoint has one default version, not {len(defaults)} ({', '.join(defaults) or 'none'}): make another "
            "version the default (is_default=True) before this one is deleted, and call update_deployment_state() "
            "before a change, so that the SDK knows all versions."
        )
    controls = [name for name, version in versions.items() if version["type"] == "Control"]
    if len(controls) > 1:
        raise bad_request(f"An endpoint has one control version at most, not {', '.join(controls)}.")


def shares(versions: Mapping[str, Any]) -> dict[str, float]:
    """The percentage of the requests that each version gets: its percentile, and the default also what is left."""
    left = 100 - sum(version["trafficPercentile"] for version in versions.values())
    return {
        name: float(version["trafficPercentile"] + (left if version["isDefault"] else 0))
        for name, version in versions.items()
    }


class TrafficSplit:
    """Smooth weighted round robin: of any hundred requests in a row, each version gets its percentage, evenly spread.

    Args:
        weights: by version, at least one of them more than 0.
    """

    def __init__(self, weights: Mapping[str, float]) -> None:
        self.weights = dict(weights)
        self._total = sum(self.weights.values())
        self._credit = dict.fromkeys(self.weights, 0.0)

    def next(self) -> str:
        """The version whose turn it is."""
        for version, weight in self.weights.items():
            self._credit[version] += weight
        chosen = max((version for version, weight in self.weights.items() if weight > 0), key=self._credit.__getitem__)
        self._credit[chosen] -= self._total
        return chosen
