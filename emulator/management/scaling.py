"""How many nodes a compute target may have, and for how long they stay without work."""

from __future__ import annotations

import re
from dataclasses import dataclass

_DURATION = re.compile(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?")
_UNITS = (24 * 3600, 3600, 60, 1)  # seconds


@dataclass(frozen=True)
class Scale:
    """``azureml.core.compute.amlcompute.ScaleSettings``."""

    minimum: int
    maximum: int
    idle_seconds: float


def duration_seconds(text: str) -> float | None:
    """Seconds of an ISO 8601 duration in days and less, for example ``PT120S``; ``None`` when it is not one."""
    match = _DURATION.fullmatch(text)
    if match is None or not any(match.groups()):
        return None
    return sum(float(number or 0) * unit for number, unit in zip(match.groups(), _UNITS, strict=True))
