"""How many replicas a load needs, decided as azureml-fe, the router of Azure ML on AKS, decides it.

https://learn.microsoft.com/azure/machine-learning/v1/how-to-deploy-azure-kubernetes-service, "Autoscaling".
"""

from __future__ import annotations

import math
from collections import deque

from emulator.services.configuration import Scaling

DOWN_AFTER_PERIODS = 10
"""More replicas come at once, fewer only when they were not needed for so many refresh periods in a row."""


class DemandMeter:
    """The mean of a number that changes now and then, over the time since it was last asked for.

    Args:
        now: any clock's seconds, as everywhere in this class.
    """

    def __init__(self, now: float) -> None:
        self._value = 0.0
        self._sum = 0.0
        self._counted = self._began = now

    def change(self, value: float, now: float) -> None:
        self._sum += self._value * (now - self._counted)
        self._value, self._counted = value, now

    def mean(self, now: float) -> float:
        self.change(self._value, now)
        seconds = now - self._began
        mean = self._sum / seconds if seconds > 0 else self._value
        self._sum, self._began = 0.0, now
        return mean


class Autoscaler:
    """Looks at the demand once in each refresh period.

    Args:
        scaling: the bounds and the utilization that is aimed at.
        most: replicas that this machine is burdened with, unless ``scaling.least`` is more.
    """

    def __init__(self, scaling: Scaling, most: int) -> None:
        self._scaling = scaling
        self._most = max(scaling.least, min(scaling.most, most))
        self._needed: deque[int] = deque(maxlen=DOWN_AFTER_PERIODS)

    def replicas(self, demand: float, present: int) -> int:
        """How many there should be.

        Args:
            demand: the mean of (requests in replicas and in the queue) / (requests that a replica takes at a time).
            present: how many there are.
        """
        needed = math.ceil(round(demand / self._scaling.utilization, 6))
        needed = min(max(needed, self._scaling.least), self._most)
        self._needed.append(needed)
        if needed >= present:
            return needed
        if len(self._needed) < DOWN_AFTER_PERIODS:
            return min(present, self._most)
        return min(present, max(self._needed))
