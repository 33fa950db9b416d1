"""Drift: two measures of how far one sample is from another, and the limits that settings put on them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from settings.data import DriftSettings
from tasks.data_drift import drift, drift_failures, kolmogorov_smirnov, stability_index
from tasks.errors import DataError
from tasks.values import ColumnDrift

pytestmark = pytest.mark.unit


def settings(**options: Any) -> DriftSettings:
    return DriftSettings.model_validate({"reference": {"path": "old.csv"}, "max_psi": 0.2, **options})


def of(values: Any, reference: Any, **options: Any) -> ColumnDrift:
    (column,) = drift(pd.DataFrame({"x": values}), pd.DataFrame({"x": reference}), settings(**options))
    return column


def test_psi_is_the_sum_over_bins_with_half_a_value_added_to_each() -> None:
    p, q = (30.5 / 101, 70.5 / 101), (60.5 / 101, 40.5 / 101)
    expected = sum((one - other) * math.log(one / other) for one, other in zip(p, q, strict=True))
    assert stability_index(np.array([30.0, 70.0]), np.array([60.0, 40.0])) == pytest.approx(expected)


def test_ks_is_the_largest_distance_between_the_distribution_functions() -> None:
    assert kolmogorov_smirnov(np.array([1.0, 2.0, 3.0, 4.0]), np.array([3.0, 4.0, 5.0, 6.0])) == 0.5
    assert kolmogorov_smirnov(np.array([1.0, np.nan]), np.array([1.0])) == 0.0
    assert kolmogorov_smirnov(np.array([np.nan]), np.array([1.0])) is None


def test_a_sample_of_the_same_distribution_does_not_drift_and_a_shifted_one_does() -> None:
    random = np.random.default_rng(1)
    reference, same = random.normal(size=2000), random.normal(size=2000)
    quiet, moved = of(same, reference, max_ks=0.1), of(same + 1, reference, max_ks=0.1)
    assert (quiet.drifted, moved.drifted) == (False, True)
    assert quiet.psi < 0.02 < 0.5 < moved.psi
    assert quiet.ks is not None and moved.ks is not None
    assert quiet.ks < 0.05 < 0.3 < moved.ks


def test_missing_values_are_a_bin_of_their_own() -> None:
    assert of([1.0, 2.0, 3.0, 4.0] * 50 + [None] * 200, [1.0, 2.0, 3.0, 4.0] * 100).psi > 1


@pytest.mark.parametrize(("measure", "limit"), [("max_psi", 0.3), ("max_ks", 0.3)])
def test_either_measure_can_be_the_one_that_is_too_far(measure: str, limit: float) -> None:
    reference, moved = np.arange(100.0), np.arange(100.0) + 40
    assert of(moved, reference, **{"max_psi": None, measure: limit}).drifted
    assert not of(reference, reference, **{"max_psi": None, measure: limit}).drifted


def test_text_is_compared_by_its_frequent_values_and_has_no_ks() -> None:
    same = of(["a", "b"] * 50, ["b", "a"] * 50)
    assert (same.psi, same.ks) == (0.0, None)
    assert of(["a"] * 90 + ["b"] * 10, ["a", "b"] * 50).drifted
    rare = of([f"n{number}" for number in range(100)], [f"o{number}" for number in range(100)], bins=2)
    assert rare.psi < 0.05  # names that are there once are all one bin
    assert of([True, False] * 50, [1.0, 2.0] * 50).ks is None


def test_a_constant_reference_tells_a_value_that_it_never_had() -> None:
    assert of([1.0] * 100, [1.0] * 100).psi == 0.0
    assert of([2.0] * 100, [1.0] * 100).drifted


def test_a_column_that_is_too_far_is_a_failure_with_its_numbers() -> None:
    frame, reference = pd.DataFrame({"x": np.arange(100.0) + 60}), pd.DataFrame({"x": np.arange(100.0)})
    wanted = settings(max_ks=0.5)
    failures = list(drift_failures(frame, drift(frame, reference, wanted), wanted))
    assert [(each.check, each.column, each.rule, each.count) for each in failures] == [
        ("drift", "x", "PSI to old.csv at most 0.2", 100),
        ("drift", "x", "KS to old.csv at most 0.5", 100),
    ]
    assert failures[1].seen == "KS 0.6"


def test_only_the_listed_columns_are_compared_and_one_that_is_gone_is_a_failure() -> None:
    frame, reference = pd.DataFrame({"x": [1.0], "z": [1.0]}), pd.DataFrame({"x": [1.0], "y": [1.0], "z": [1.0]})
    wanted = settings(columns=("x", "y"))
    drifts = drift(frame, reference, wanted)
    assert [each.column for each in drifts] == ["x"]
    assert [(each.column, each.seen) for each in drift_failures(frame, drifts, wanted)] == [("y", "no such column")]


def test_a_reference_that_cannot_be_compared_with_is_an_error() -> None:
    frame = pd.DataFrame({"x": [1.0], "y": [1.0]})
    with pytest.raises(DataError, match=r"The reference old\.csv has no column y; it has x\."):
        drift(frame, pd.DataFrame({"x": [1.0]}), settings(columns=("x", "y")))
    with pytest.raises(DataError, match=r"The reference old\.csv has no rows\."):
        drift(frame, pd.DataFrame({"x": []}), settings())


HISTOGRAMS = st.integers(1, 8).flatmap(
    lambda bins: st.tuples(*[st.lists(st.integers(0, 50).map(float), min_size=bins, max_size=bins)] * 2)
)
SAMPLES = st.lists(st.floats(-100, 100) | st.just(math.nan), min_size=1, max_size=40)


@given(HISTOGRAMS)
def test_psi_is_never_negative_and_the_same_from_both_sides(pair: tuple[list[float], list[float]]) -> None:
    one, other = map(np.array, pair)
    assert stability_index(one, other) == pytest.approx(stability_index(other, one))
    assert stability_index(one, other) >= -1e-12
    assert stability_index(one, one) == 0.0


@given(SAMPLES, SAMPLES)
def test_ks_lies_between_0_and_1_and_is_the_same_from_both_sides(one: list[float], other: list[float]) -> None:
    found = kolmogorov_smirnov(np.array(one), np.array(other))
    assert found == kolmogorov_smirnov(np.array(other), np.array(one))
    assert found is None or 0 <= found <= 1
    assert kolmogorov_smirnov(np.array(one), np.array(one)) in (0.0, None)


@given(SAMPLES, SAMPLES, st.randoms())
@hypothesis_settings(deadline=None)
def test_the_order_of_rows_does_not_matter(one: list[float], other: list[float], random: Any) -> None:
    shuffled = list(one)
    random.shuffle(shuffled)
    assert of(shuffled, other) == of(one, other)


@given(SAMPLES, SAMPLES)
@hypothesis_settings(deadline=None)
def test_a_scale_that_keeps_the_order_does_not_matter(one: list[float], other: list[float]) -> None:
    # A power of two, which is exact.
    scaled = of([value * 4 for value in one], [value * 4 for value in other])
    assert scaled == of(one, other)
