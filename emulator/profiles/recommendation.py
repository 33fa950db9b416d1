"""From what a replica used under load to what a service should ask for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

CPU_BOUNDS = (0.1, 3.5)  # cores; what Model.profile accepts
MEMORY_BOUNDS = (0.5, 15.0)  # gigabytes
_CPU_STEP = 0.1
_MEMORY_STEP = 0.5
_HEADROOM = 1.2


@dataclass(frozen=True)
class Recommendation:
    """Cores and gigabytes, in the steps that Azure takes."""

    cpu: float
    memory_gb: float


def _round_up(value: float, step: float, bounds: tuple[float, float]) -> float:
    steps = math.ceil(round(value / step, 6))
    return min(max(round(steps * step, 6), bounds[0]), bounds[1])


def recommend(used_cpu: float, used_memory_gb: float) -> Recommendation:
    """What was used at most, a fifth more, rounded up.

    Args:
        used_cpu: cores.
        used_memory_gb: gigabytes.
    """
    return Recommendation(
        cpu=_round_up(used_cpu * _HEADROOM, _CPU_STEP, CPU_BOUNDS),
        memory_gb=_round_up(used_memory_gb * _HEADROOM, _MEMORY_STEP, MEMORY_BOUNDS),
    )


def percentile(values: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile: the smallest value that ``percent`` of all do not exceed.

    Raises:
        ValueError: there are no values.
    """
    if not values:
        raise ValueError("no values, no percentile")
    rank = math.ceil(round(percent / 100 * len(values), 9))
    return sorted(values)[max(rank, 1) - 1]
