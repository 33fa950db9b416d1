"""Profiles as ``ModelProfile`` reads them."""

from __future__ import annotations

from typing import Any

from emulator.profiles.load import Measurement
from emulator.profiles.recommendation import percentile, recommend
from emulator.profiles.store import Profile

_PERCENTILES = {"50": 50.0, "90": 90.0, "95": 95.0, "99": 99.0, "999": 99.9}


def profile_payload(profile: Profile, error_logs_uri: str) -> dict[str, Any]:
    return {
        **profile.model_dump(by_alias=True),
        "errorLogsUri": error_logs_uri if profile.error else None,
    }


def results(measurement: Measurement) -> dict[str, Any]:
    """What a measurement says, by the names of :class:`Profile`.

    Args:
        measurement: with at least one request that was answered.
    """
    answered = len(measurement.latencies)
    recommendation = recommend(measurement.max_cpu, measurement.max_memory_gb)
    found: dict[str, Any] = {
        f"latency_percentile_{name}_in_ms": round(percentile(measurement.latencies, percent), 3)
        for name, percent in _PERCENTILES.items()
    }
    failed = None
    if measurement.failures:
        message = (
            f"{len(measurement.failures)} of {measurement.total} requests failed, first: {measurement.failures[0]}."
        )
        failed = {"code": "RequestsFailed", "statusCode": 400, "message": message, "details": []}
    return {
        **found,
        "error": failed,
        "total_queries": float(measurement.total),
        "success_queries": float(answered),
        "success_rate": round(100 * answered / measurement.total, 3),
        "measured_queries_per_second": round(answered / measurement.seconds, 1),
        "average_latency_in_ms": round(sum(measurement.latencies) / answered, 3),
        "max_utilized_cpu": round(measurement.max_cpu, 3),
        "max_utilized_memory_in_gb": round(measurement.max_memory_gb, 3),
        "recommended_cpu": recommendation.cpu,
        "recommended_memory_in_gb": recommendation.memory_gb,
    }
