"""The rules of one metric, exact at their borders."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from settings.deployment import EvaluationParameters, MetricSettings
from tasks.gate.rules import Rule, between, compare_metric, listed_metrics, rules, sentence, tell_apart
from tasks.values import Interval, MetricComparison

pytestmark = pytest.mark.unit


def settings(direction: str = "smaller_is_better", **options: Any) -> MetricSettings:
    return MetricSettings.model_validate({"direction": direction, **options})


def judged(
    candidate: float,
    production: float | None,
    direction: str = "smaller_is_better",
    interval: tuple[float, float] | None = None,
    significant: bool = False,
    **options: Any,
) -> MetricComparison:
    known = interval and Interval(low=interval[0], high=interval[1], confidence=0.9)
    return compare_metric(Rule("m", settings(direction, **options)), candidate, production, known, significant)


def test_a_row_has_everything_that_the_report_shows() -> None:
    row = compare_metric(
        Rule("auc[a=1]", settings("larger_is_better"), slice_of="auc"),
        0.9,
        0.7,
        Interval(low=0.1, high=0.3, confidence=0.95),
        True,
    )
    assert row == MetricComparison(
        name="auc[a=1]",
        larger_is_better=True,
        candidate=0.9,
        production=0.7,
        verdict="better",
        blocks=False,
        slice_of="auc",
        improvement=0.2,
        interval=Interval(low=0.1, high=0.3, confidence=0.95),
    )


def test_an_improvement_that_no_float_holds_is_infinite() -> None:
    row = judged(-1.7e308, 1.7e308)
    assert (row.verdict, row.improvement) == ("better", math.inf)


def test_the_first_model_has_nothing_to_improve_on() -> None:
    row = judged(5.0, None)
    assert (row.verdict, row.blocks, row.improvement) == ("first", False, None)


@pytest.mark.parametrize(
    ("candidate", "production", "options", "verdict", "blocks"),
    [
        (1.0, 1.0, {}, "equal", False),
        (0.9, 1.0, {}, "better", False),
        (1.1, 1.0, {}, "worse", True),
        # A tenth, as it is written, although 0.3 - 0.2 is less than 0.1 in binary.
        (0.2, 0.3, {"min_absolute_improvement": 0.1}, "better", False),
        (0.2000001, 0.3, {"min_absolute_improvement": 0.1}, "too little", True),
        (0.27, 0.3, {"min_relative_improvement": 0.1}, "better", False),
        (0.2700001, 0.3, {"min_relative_improvement": 0.1}, "too little", True),
        # Of both bounds the harder one decides.
        (90.0, 100.0, {"min_absolute_improvement": 10, "min_relative_improvement": 0.01}, "better", False),
        (91.0, 100.0, {"min_absolute_improvement": 10, "min_relative_improvement": 0.01}, "too little", True),
        (91.0, 100.0, {"min_absolute_improvement": 1, "min_relative_improvement": 0.1}, "too little", True),
        (100.0, 100.0, {"min_absolute_improvement": 1}, "too little", True),
        (0.0, 0.0, {"min_relative_improvement": 0.1}, "too little", True),
        (-1e-9, 0.0, {"min_relative_improvement": 0.1}, "better", False),
        (101.0, 100.0, {"min_absolute_improvement": 1}, "worse", True),
        (0.3, 0.2, {"allowed_loss": 0.1}, "tolerated", False),
        (0.3000001, 0.2, {"allowed_loss": 0.1}, "worse", True),
        (0.33, 0.3, {"allowed_relative_loss": 0.1}, "tolerated", False),
        (0.3300001, 0.3, {"allowed_relative_loss": 0.1}, "worse", True),
        (102.0, 100.0, {"allowed_loss": 2, "allowed_relative_loss": 0.1}, "tolerated", False),
        (103.0, 100.0, {"allowed_loss": 2, "allowed_relative_loss": 0.1}, "worse", True),
        (103.0, 100.0, {"allowed_loss": 20, "allowed_relative_loss": 0.01}, "worse", True),
        (0.1, 0.0, {"allowed_relative_loss": 0.5}, "worse", True),
        (-90.0, -100.0, {"allowed_relative_loss": 0.1}, "tolerated", False),
        (100.0, 100.0, {"allowed_loss": 1}, "equal", False),
        (99.0, 100.0, {"allowed_loss": 1}, "better", False),
        (5.0, 9.0, {"threshold": 5.0}, "better", False),
        (5.1, 9.0, {"threshold": 5.0}, "misses threshold", True),
        (5.0, None, {"threshold": 5.0}, "first", False),
        (5.1, None, {"threshold": 5.0}, "misses threshold", True),
    ],
)
def test_borders(candidate: float, production: float | None, options: Any, verdict: str, blocks: bool) -> None:
    row = judged(candidate, production, **options)
    assert (row.verdict, row.blocks) == (verdict, blocks)
    # Turned round, the same: what is smaller by a sign is larger.
    turned = {name: -value if name == "threshold" else value for name, value in options.items()}
    mirrored = judged(-candidate, None if production is None else -production, "larger_is_better", **turned)
    assert (mirrored.verdict, mirrored.blocks, mirrored.improvement) == (verdict, blocks, row.improvement)


@pytest.mark.parametrize(
    ("interval", "significant", "options", "verdict", "blocks"),
    [
        ((1e-9, 1.0), True, {}, "better", False),
        ((0.0, 1.0), True, {}, "not significant", False),
        ((-1.0, 1.0), True, {}, "not significant", False),
        ((-1.0, 1.0), False, {}, "better", False),
        (None, True, {}, "better", False),
        ((-1.0, 1.0), True, {"min_absolute_improvement": 0.1}, "not significant", True),
        ((-1.0, 1.0), True, {"min_relative_improvement": 0.1}, "not significant", True),
        ((-1.0, 1.0), True, {"allowed_loss": 0.1}, "not significant", False),
    ],
)
def test_an_improvement_counts_when_its_interval_lies_above_zero(
    interval: tuple[float, float] | None, significant: bool, options: Any, verdict: str, blocks: bool
) -> None:
    row = judged(1.0, 2.0, interval=interval, significant=significant, **options)
    assert (row.verdict, row.blocks) == (verdict, blocks)


@pytest.mark.parametrize(("candidate", "verdict"), [(2.0, "equal"), (3.0, "worse")])
def test_significance_says_nothing_about_what_is_not_better(candidate: float, verdict: str) -> None:
    assert judged(candidate, 2.0, interval=(-1.0, 1.0), significant=True).verdict == verdict


SMALLER, LARGER = "smaller_is_better", "larger_is_better"


@pytest.mark.parametrize(
    ("candidate", "production", "direction", "options", "words"),
    [
        (1, 2, SMALLER, {}, "is better than production's 2 (smaller is better)"),
        (2, 1, LARGER, {}, "is better than production's 1 (larger is better)"),
        (1, 1, SMALLER, {}, "is equal to production's, so it is no better"),
        (2, 1, SMALLER, {}, "is worse than production's 1 (smaller is better)"),
        (2, 1, SMALLER, {"allowed_loss": 0.5}, "is worse than production's 1 by 1, more than the allowed 0.5"),
        (
            2.25,
            1,
            SMALLER,
            {"allowed_loss": 0.123456789, "allowed_relative_loss": 0.2345678},
            "is worse than production's 1 by 1.25, more than the allowed 0.123457 and 0.234568 of it",
        ),
        (
            2,
            1,
            SMALLER,
            {"allowed_relative_loss": 1.0},
            "is worse than production's 1 by 1, within the allowed 1 of it",
        ),
        (
            1,
            2,
            SMALLER,
            {"min_absolute_improvement": 3},
            "improves on production's 2 by 1, less than the demanded 3",
        ),
        (
            2,
            2,
            SMALLER,
            {"min_relative_improvement": 0.1},
            "improves on production's 2 by 0, less than the demanded 0.1 of it",
        ),
        (2, 9, SMALLER, {"threshold": 1}, "misses the threshold, at most 1"),
        (2, 1, LARGER, {"threshold": 1234567.8}, "misses the threshold, at least 1.23457e+06"),
    ],
)
def test_each_verdict_is_a_sentence_with_the_numbers(
    candidate: float, production: float, direction: str, options: Any, words: str
) -> None:
    row = judged(candidate, production, direction, **options)
    assert sentence(row, settings(direction, **options)) == f"m {candidate:g} {words}"


def test_a_significant_improvement_is_said_in_the_same_words_as_any_other() -> None:
    row = judged(1.0, 2.0, interval=(0.5, 1.5), significant=True)
    assert sentence(row, settings()) == "m 1 is better than production's 2 (smaller is better)"


def test_the_sentence_of_an_insignificant_improvement_has_the_interval() -> None:
    row = judged(1.0, 2.0, interval=(-1.23456, 3.0), significant=True)
    assert sentence(row, settings()) == (
        "m 1 is better than production's 2 (smaller is better), but not significantly: "
        "the improvement lies between -1.235 and 3 with 0.9 confidence"
    )


def test_an_interval_in_words() -> None:
    assert between(Interval(low=-0.123456, high=12345.6, confidence=0.98765)) == (
        "between -0.1235 and 1.235e+04 with 0.9877 confidence"
    )


def test_numbers_are_shown_with_the_digits_that_tell_them_apart() -> None:
    assert tell_apart(1.0, None) == ("1", "none")
    assert tell_apart(1234567.8, None) == ("1.23457e+06", "none")
    assert tell_apart(0.123456781, 0.123456782) == ("0.123456781", "0.123456782")
    assert tell_apart(0.123456789, 0.123456789) == ("0.123457", "0.123457")
    assert tell_apart(0.12345678, 0.2345678) == ("0.123457", "0.234568")


def test_the_lists_are_metrics_without_further_rules_and_metrics_add_to_them() -> None:
    parameters = EvaluationParameters.model_validate(
        {
            "larger_is_better": ("auc",),
            "smaller_is_better": ("mse", "mae"),
            "metrics": {
                "mse": {"direction": "smaller_is_better", "threshold": 1.0},
                "f1": {"direction": "larger_is_better"},
            },
        }
    )
    listed = listed_metrics(parameters)
    assert {name: (rule.direction, rule.threshold) for name, rule in listed.items()} == {
        "auc": ("larger_is_better", None),
        "mse": ("smaller_is_better", 1.0),
        "mae": ("smaller_is_better", None),
        "f1": ("larger_is_better", None),
    }


def test_slices_follow_their_metric_in_order_with_rules_of_their_own() -> None:
    listed = {
        "mse": settings(
            threshold=5.0, min_absolute_improvement=1.0, slices={"allowed_loss": 2.0, "allowed_relative_loss": 0.5}
        ),
        "mae": settings(),
    }
    found = list(rules(listed, ["mse[b=1]", "mse[a=2]", "mse", "mae[a=1]", "mse[a=2]"]))
    of_slice = settings(allowed_loss=2.0, allowed_relative_loss=0.5)
    assert found == [
        Rule("mse", listed["mse"], None),
        Rule("mse[a=2]", of_slice, "mse"),
        Rule("mse[b=1]", of_slice, "mse"),
        Rule("mae", listed["mae"], None),
    ]


NUMBERS = st.integers(-50, 50).map(lambda tenths: tenths / 10)
BOUNDS = st.integers(1, 20).map(lambda tenths: tenths / 10)


@given(NUMBERS, NUMBERS, BOUNDS)
def test_a_demanded_improvement_and_an_allowed_loss_are_the_same_border_from_both_sides(
    one: float, other: float, bound: float
) -> None:
    assume(one != other)
    improves = judged(one, other, min_absolute_improvement=bound).verdict == "better"
    # The loser may lose less than the winner must gain.
    lost = judged(other, one, allowed_loss=bound).verdict
    if improves and round(abs(one - other), 1) > bound:
        assert lost == "worse"
    if lost == "tolerated" and not improves:
        assert round(abs(one - other), 1) < bound


@given(NUMBERS, NUMBERS, BOUNDS, BOUNDS)
def test_allowing_more_never_blocks_what_was_allowed(
    candidate: float, production: float, less: float, more: float
) -> None:
    less, more = sorted((less, more))
    if not judged(candidate, production, allowed_loss=less).blocks:
        assert not judged(candidate, production, allowed_loss=more).blocks


@given(NUMBERS, NUMBERS, BOUNDS, BOUNDS)
def test_demanding_more_never_lets_through_what_was_blocked(
    candidate: float, production: float, less: float, more: float
) -> None:
    less, more = sorted((less, more))
    if judged(candidate, production, min_relative_improvement=less).blocks:
        assert judged(candidate, production, min_relative_improvement=more).blocks


@given(NUMBERS, NUMBERS)
def test_the_improvement_is_the_loss_of_the_other_way_round(candidate: float, production: float) -> None:
    there, back = judged(candidate, production).improvement, judged(production, candidate).improvement
    assert there is not None and back is not None
    assert there == -back
