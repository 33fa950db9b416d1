"""The data gate's rules: what they let through, and what they say of the rest."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from settings.data import DataSettings
from tasks.data_quality import broken_rules
from tasks.values import DataFailure

pytestmark = pytest.mark.unit


def broken(frame: pd.DataFrame, columns: dict[str, Any] | None = None, **options: Any) -> tuple[DataFailure, ...]:
    settings = {"source": {"path": "data.csv"}, "columns": columns or {}, **options}
    return broken_rules(frame, DataSettings.model_validate(settings))


def of_column(values: list[Any], **rules: Any) -> list[tuple[str, str, str, int, tuple[int, ...]]]:
    failures = broken(pd.DataFrame({"x": values}), {"x": rules})
    assert all(failure.column == "x" for failure in failures)
    return [(each.check, each.rule, each.seen, each.count, each.rows) for each in failures]


def test_good_data_breaks_no_rule() -> None:
    frame = pd.DataFrame({"age": [20, 30], "sex": ["f", "m"], "since": ["2026-01-31", "2026-02-01T10:00:00Z"]})
    rules = {
        "age": {"type": "integer", "min": 20, "max": 30, "unique": True},
        "sex": {"type": "text", "allowed": ("f", "m")},
        "since": {"type": "datetime"},
    }
    assert broken(frame, rules, min_rows=2, duplicate_rows_allowed=0.0, other_columns_allowed=False) == ()


@pytest.mark.parametrize(
    ("values", "kind", "seen", "rows"),
    [
        ([1.0, "two", 3], "number", "text", (2,)),
        ([1.0, np.inf, -np.inf], "number", "number", (2, 3)),
        ([1, True], "number", "bool", (2,)),
        ([1.0, 2.5], "integer", "number", (2,)),
        (["a", 1, 1.5], "text", "integer, number", (2, 3)),
        ([True, "yes"], "boolean", "text", (2,)),
        (["2026-01-31", "31 January"], "datetime", "text", (2,)),
        ([20260131], "datetime", "integer", (1,)),
    ],
)
def test_a_value_of_another_type_is_found_and_not_shown(
    values: list[Any], kind: str, seen: str, rows: tuple[int, ...]
) -> None:
    assert of_column(values, type=kind) == [("type", kind, seen, len(rows), rows)]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, 2], "integer"),
        ([1.0, 2.0, None], "integer"),
        ([1, 2.5], "number"),
        (["1", "2.5"], "number"),
        (["a", None], "text"),
        ([True, None, False], "boolean"),
        (list(pd.to_datetime(["2026-01-31"])), "datetime"),
    ],
)
def test_values_of_a_type_are_let_through_and_missing_ones_are_no_matter_of_type(values: list[Any], kind: str) -> None:
    assert of_column(values, type=kind, missing_allowed=0.5) == []


def test_the_border_of_a_range_is_inside() -> None:
    assert of_column([0, 1.5, 3], min=0, max=3) == []
    assert of_column([-1, 1, 4, 5, -2], min=0, max=3) == [
        ("smallest value", "at least 0", "down to -2", 2, (1, 5)),
        ("largest value", "at most 3", "up to 5", 2, (3, 4)),
    ]


def test_a_word_among_numbers_is_no_matter_of_range() -> None:
    assert of_column(["-1", "x", "2"], min=0) == [("smallest value", "at least 0", "down to -1", 1, (1,))]


def test_other_values_are_counted_and_not_shown() -> None:
    assert of_column(["f", "m", "Ada", "Ada", "Bob"], allowed=("f", "m")) == [
        ("allowed values", "one of f, m", "2 other value(s)", 3, (3, 4, 5))
    ]
    assert of_column([1, 2.0, 3], allowed=(1, 2)) == [("allowed values", "one of 1, 2", "1 other value(s)", 1, (3,))]
    assert of_column(["1", "2", "x"], allowed=(1, 2))[0][4] == (3,)


def test_missing_values_are_allowed_up_to_a_fraction() -> None:
    assert of_column([1, None, 3, 4], missing_allowed=0.25) == []
    assert of_column([1, None, None, 4], missing_allowed=0.25) == [
        ("missing values", "at most 0.25 of the values missing", "2 missing", 2, (2, 3))
    ]
    assert of_column([None, None]) == [("missing values", "at most 0 of the values missing", "2 missing", 2, (1, 2))]


def test_a_unique_column_has_each_value_once_but_may_miss_several() -> None:
    assert of_column([1, None, None], unique=True, missing_allowed=1.0) == []
    assert of_column(["a", "b", "a"], unique=True) == [
        ("unique", "no value is there twice", "1 value(s) more than once", 2, (1, 3))
    ]


def test_rows_may_repeat_up_to_a_fraction() -> None:
    frame = pd.DataFrame({"x": [1, 1, 2, 3], "y": [1, 1, 2, 2]})
    assert broken(frame, duplicate_rows_allowed=0.25) == ()
    assert broken(frame, duplicate_rows_allowed=0.2) == (
        DataFailure(
            check="duplicates",
            column=None,
            rule="at most 0.2 of the rows repeat an earlier one",
            seen="0.25 of them",
            count=1,
            rows=(2,),
        ),
    )


def test_columns_that_are_missing_or_too_many_and_too_few_rows_are_all_told_at_once() -> None:
    failures = broken(
        pd.DataFrame({"x": ["a"], "z": [1]}),
        {"x": {"type": "number"}, "y": {}},
        min_rows=2,
        other_columns_allowed=False,
    )
    assert [(each.check, each.column, each.rule, each.seen) for each in failures] == [
        ("rows", None, "at least 2 rows", "1 rows"),
        ("columns", "y", "is there", "only x, z"),
        ("columns", "z", "is not there", "a column"),
        ("type", "x", "number", "text"),
    ]


def test_rows_are_counted_from_the_first_whatever_the_index_and_at_most_five_are_named() -> None:
    frame = pd.DataFrame({"x": [-1] * 8}, index=range(100, 108))
    (failure,) = broken(frame, {"x": {"min": 0}})
    assert (failure.count, failure.rows) == (8, (1, 2, 3, 4, 5))


def test_a_table_without_rows_breaks_the_least_number_of_rows_only() -> None:
    failures = broken(pd.DataFrame({"x": []}), {"x": {"type": "number", "min": 0, "unique": True}})
    assert [failure.check for failure in failures] == ["rows"]


CELLS = st.none() | st.integers(-5, 5) | st.floats(-5, 5) | st.sampled_from(["a", "1", ""]) | st.booleans()


@given(st.lists(CELLS, min_size=1, max_size=12), st.sampled_from(["integer", "number", "text", "boolean", "datetime"]))
@hypothesis_settings(deadline=None, max_examples=60)
def test_every_value_that_breaks_a_rule_is_found_and_no_other(values: list[Any], kind: str) -> None:
    frame = pd.DataFrame({"x": pd.Series(values, dtype=object)})
    rules = {"x": {"type": kind, "missing_allowed": 1.0}}
    alone = [position for position in range(len(values)) if broken(frame.iloc[[position]], rules)]
    together = broken(frame, rules)
    assert sum(failure.count for failure in together) == len(alone)
    assert [row for failure in together for row in failure.rows] == [position + 1 for position in alone][:5]
