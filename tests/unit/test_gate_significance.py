"""The paired bootstrap: an interval of the improvement over the rows of the common test data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from settings.deployment import SignificanceSettings
from tasks.gate.predictions import Predictions
from tasks.gate.significance import improvement_interval
from tasks.values import Interval

pytestmark = pytest.mark.unit


def predictions(target: Sequence[float], prediction: Sequence[float]) -> Predictions:
    return Predictions(tuple(map(str, range(len(target)))), np.array(target, float), np.array(prediction, float), {})


def interval(function: Any, larger: bool, target: Any, new: Any, old: Any, **options: Any) -> Interval:
    settings = SignificanceSettings.model_validate({"resamples": 200, **options})
    return improvement_interval(function, larger, predictions(target, new), predictions(target, old), settings)


def test_the_interval_is_that_of_the_percentile_method() -> None:
    random = np.random.default_rng(7)
    target, new, old = random.normal(size=(3, 20))
    gains = (target - old) ** 2 - (target - new) ** 2
    draw = np.random.default_rng(5)
    means = [gains[draw.integers(20, size=20)].mean() for _ in range(300)]

    found = interval("mse", False, target, new, old, resamples=300, confidence=0.9, seed=5)

    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(means, [0.05, 0.95])))
    assert found.confidence == 0.9


def test_the_larger_is_better_for_accuracy() -> None:
    found = interval("accuracy", True, [1, 1, 1], [1, 1, 1], [0, 0, 0])
    assert (found.low, found.high) == (1.0, 1.0)
    found = interval("accuracy", True, [1, 1, 1], [0, 0, 0], [1, 1, 1])
    assert (found.low, found.high) == (-1.0, -1.0)


def test_equal_models_do_not_differ_in_any_resample() -> None:
    found = interval("rmse", False, [1, 2, 3], [1, 1, 1], [1, 1, 1])
    assert (found.low, found.high) == (0.0, 0.0)


def test_models_are_judged_on_the_same_drawn_rows() -> None:
    # Each row alone says that the candidate is better by 1; only unpaired draws could say anything else.
    found = interval("mae", False, [0, 0, 0, 0], [1, 10, 100, 1000], [2, 11, 101, 1001])
    assert (found.low, found.high) == (1.0, 1.0)


ROWS = st.lists(st.tuples(*[st.floats(-100, 100)] * 3), min_size=2, max_size=20)


@given(ROWS)
@hypothesis_settings(deadline=None, max_examples=25)
def test_the_interval_turns_round_when_the_models_change_places(rows: list[tuple[float, float, float]]) -> None:
    target, new, old = zip(*rows, strict=True)
    there, back = interval("mse", False, target, new, old), interval("mse", False, target, old, new)
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low))


@given(ROWS, st.integers(0, 1000))
@hypothesis_settings(deadline=None, max_examples=25)
def test_the_same_seed_gives_the_same_interval_and_more_confidence_a_wider_one(
    rows: list[tuple[float, float, float]], seed: int
) -> None:
    target, new, old = zip(*rows, strict=True)
    narrow = interval("mae", False, target, new, old, confidence=0.8, seed=seed)
    assert narrow == interval("mae", False, target, new, old, confidence=0.8, seed=seed)
    wide = interval("mae", False, target, new, old, confidence=0.99, seed=seed)
    assert wide.low <= narrow.low <= narrow.high <= wide.high
