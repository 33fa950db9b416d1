"""When replicas are added, taken away, or started again because they hang."""

from __future__ import annotations

import pytest

from emulator.services.autoscaler import DOWN_AFTER_PERIODS, Autoscaler, DemandMeter
from emulator.services.configuration import LivenessProbe, Scaling
from emulator.services.liveness import Liveness

pytestmark = pytest.mark.unit

SCALING = Scaling(least=1, most=5, refresh_seconds=1, utilization=0.7)


@pytest.mark.parametrize(("demand", "replicas"), [(0, 1), (0.7, 1), (0.71, 2), (2.1, 3), (2.2, 4), (50, 5)])
def test_there_are_as_many_replicas_as_keep_utilization_at_its_target(demand: float, replicas: int) -> None:
    assert Autoscaler(SCALING, most=8).replicas(demand, present=1) == replicas


def test_replicas_go_only_when_they_were_not_needed_for_a_while() -> None:
    autoscaler = Autoscaler(SCALING, most=8)
    assert autoscaler.replicas(2.1, present=1) == 3
    quiet = [autoscaler.replicas(0.1, present=3) for _ in range(DOWN_AFTER_PERIODS)]
    assert quiet == [3] * (DOWN_AFTER_PERIODS - 1) + [1]


def test_a_peak_in_between_keeps_what_it_needed() -> None:
    autoscaler = Autoscaler(SCALING, most=8)
    for demand in [0.1] * 5 + [1.0] + [0.1] * 5:
        last = autoscaler.replicas(demand, present=4)
    assert last == 2


def test_the_machine_is_not_burdened_beyond_its_cores_unless_the_minimum_says_so() -> None:
    assert Autoscaler(SCALING, most=2).replicas(50, present=1) == 2
    assert Autoscaler(Scaling(4, 9, 1, 0.7), most=2).replicas(50, present=4) == 4


def test_demand_is_the_mean_over_the_time_since_it_was_last_asked_for() -> None:
    meter = DemandMeter(now=0)
    meter.change(2, now=1)
    meter.change(0, now=3)
    assert meter.mean(now=4) == 1
    meter.change(3, now=5)
    assert meter.mean(now=6) == 1.5
    assert meter.mean(now=7) == 3


@pytest.mark.parametrize(
    ("results", "successes", "failures", "hangs"),
    [
        ("ffs", 1, 3, False),
        ("fff", 1, 3, True),
        ("ffsf", 1, 3, False),
        ("ffsf", 2, 3, True),
        ("ffssf", 2, 3, False),
        ("f", 1, 1, True),
    ],
)
def test_a_replica_hangs_after_enough_failed_probes_in_a_row(
    results: str, successes: int, failures: int, hangs: bool
) -> None:
    probe = LivenessProbe(1, 1, 1, success_threshold=successes, failure_threshold=failures)
    liveness = Liveness()
    assert [liveness.hangs(result == "s", probe) for result in results][-1] is hangs
