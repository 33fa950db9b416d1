"""What model management keeps of profiles."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from emulator.state import State


def _wire_name(name: str) -> str:
    return to_camel(name).replace("InGb", "InGB")


class Profile(BaseModel):
    """One profile (``azureml.core.profile.ModelProfile``), kept with its names on the wire.

    ``id`` is that of the operation that makes it. CPU is cores, memory is gigabytes, latencies are milliseconds,
    ``success_rate`` is a percentage.
    """

    model_config = ConfigDict(frozen=True, alias_generator=_wire_name, populate_by_name=True)

    id: str
    name: str
    description: str | None = None
    state: Literal["Running", "Succeeded", "Failed"] = "Running"
    input_dataset_id: str
    container_resource_requirements: dict[str, float]
    requested_queries_per_second: float | None = None
    created_time: str
    model_ids: list[str]
    environment: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    total_queries: float | None = None
    success_queries: float | None = None
    success_rate: float | None = None
    measured_queries_per_second: float | None = None
    max_utilized_cpu: float | None = None
    max_utilized_memory_in_gb: float | None = None
    average_latency_in_ms: float | None = None
    latency_percentile_50_in_ms: float | None = None
    latency_percentile_90_in_ms: float | None = None
    latency_percentile_95_in_ms: float | None = None
    latency_percentile_99_in_ms: float | None = None
    latency_percentile_999_in_ms: float | None = None
    recommended_cpu: float | None = None
    recommended_memory_in_gb: float | None = None


class ProfileStore:
    """Profiles by workspace id. Several may have the same name: the newest is the one that is meant."""

    def __init__(self, state: State) -> None:
        self._profiles = state.collection("profiles")

    def put(self, workspace_id: str, profile: Profile) -> Profile:
        self._profiles.put(workspace_id, profile.id, profile.model_dump(by_alias=True))
        return profile

    def all(self, workspace_id: str) -> list[Profile]:
        """All profiles, newest first."""
        return [Profile.model_validate(record) for record in reversed(self._profiles.all(workspace_id))]
