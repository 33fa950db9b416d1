"""From what a replica used to what a service should ask for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.profiles.recommendation import percentile, recommend

pytestmark = pytest.mark.unit


@given(cpu=st.floats(0, 10), memory=st.floats(0, 30))
def test_a_recommendation_covers_what_was_used_within_the_bounds_and_steps_of_azure(cpu: float, memory: float) -> None:
    recommended = recommend(cpu, memory)
    assert recommended.cpu >= min(cpu, 3.5)
    assert recommended.memory_gb >= min(memory, 15)
    assert 0.1 <= recommended.cpu <= 3.5
    assert 0.5 <= recommended.memory_gb <= 15
    assert recommended.cpu * 10 == pytest.approx(round(recommended.cpu * 10))
    assert recommended.memory_gb * 2 == pytest.approx(round(recommended.memory_gb * 2))


def test_a_fifth_is_added_and_rounded_up_to_the_next_step() -> None:
    assert recommend(0.5, 0.5).cpu == 0.6
    assert recommend(0.51, 0.5).cpu == 0.7
    assert recommend(0.5, 0.5).memory_gb == 1.0


@pytest.mark.parametrize(("percent", "expected"), [(0, 1), (50, 50), (90, 90), (99, 99), (99.9, 100), (100, 100)])
def test_a_percentile_is_one_of_the_values(percent: float, expected: float) -> None:
    assert percentile([float(value) for value in range(100, 0, -1)], percent) == expected


def test_without_values_there_is_no_percentile() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 50)
