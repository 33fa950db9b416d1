"""The early termination policies on made-up histories, the examples of Azure's documentation among them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.errors import ServiceError
from emulator.hyperdrive.policies import Bandit, MedianStopping, Policy, TruncationSelection, parse_policy, why_to_end
from emulator.hyperdrive.sampling import Goal

pytestmark = pytest.mark.unit

HISTORIES = st.dictionaries(
    st.sampled_from("abcdef"), st.lists(st.floats(-100, 100), min_size=3, max_size=6), min_size=1
)
POLICIES = st.one_of(
    st.builds(Bandit, st.just(1), st.just(0), st.floats(0.01, 2), st.none()),
    st.builds(Bandit, st.just(1), st.just(0), st.none(), st.floats(0.01, 50)),
    st.builds(MedianStopping, st.just(1), st.just(0)),
    st.builds(TruncationSelection, st.just(1), st.just(0), st.integers(1, 99)),
)
GOALS = st.sampled_from(("maximize", "minimize"))


def ended(policy: Policy | None, goal: Goal, interval: int, logged: dict[str, list[float]]) -> set[str]:
    """Who is ended at an interval, of those that have come so far."""
    return {
        run_id
        for run_id, values in logged.items()
        if len(values) >= interval and why_to_end(policy, goal, run_id, interval, logged) is not None
    }


@pytest.mark.parametrize(("auc", "goes_on"), [(0.67, True), (0.66, False), (0.8, True)])
def test_bandit_with_a_slack_factor_as_documented(auc: float, goes_on: bool) -> None:
    """Factor 0.2, interval 100, the best AUC 0.8: a run whose own + own * 0.2 is less than 0.8 is ended."""
    logged = {"best": [0.8] * 100, "other": [auc] * 100}
    assert ended(Bandit(100, 0, 0.2, None), "maximize", 100, logged) == (set() if goes_on else {"other"})


@pytest.mark.parametrize(("auc", "goes_on"), [(0.61, True), (0.59, False)])
def test_bandit_with_a_slack_amount_as_documented(auc: float, goes_on: bool) -> None:
    """Amount 0.2, the best AUC 0.8: a run below 0.6 is ended."""
    logged = {"best": [0.8] * 100, "other": [auc] * 100}
    assert ended(Bandit(100, 0, None, 0.2), "maximize", 100, logged) == (set() if goes_on else {"other"})


def test_bandit_mirrors_a_goal_that_is_to_be_minimised() -> None:
    logged = {"best": [10.0], "near": [11.9], "far": [12.1]}
    assert ended(Bandit(1, 0, 0.2, None), "minimize", 1, logged) == {"far"}
    assert ended(Bandit(1, 0, None, 2.0), "minimize", 1, logged) == {"far"}


def test_bandit_keeps_the_best_of_negative_values() -> None:
    assert ended(Bandit(1, 0, 0.2, None), "maximize", 1, {"best": [-10.0], "near": [-12.0], "far": [-13.0]}) == {"far"}


def test_a_policy_applies_at_every_multiple_of_its_interval_from_the_delay_on() -> None:
    """Bandit with evaluation_interval 100 and delay_evaluation 200 is first applied at interval 200."""
    policy = Bandit(100, 200, 0.2, None)
    assert [interval for interval in range(1, 401) if policy.applies(interval)] == [200, 300, 400]
    assert [interval for interval in range(1, 11) if MedianStopping(2, 5).applies(interval)] == [6, 8, 10]


def test_median_stopping_as_documented() -> None:
    """A run is ended at interval N if its best up to N is worse than the median of the averages over 1 to N."""
    logged = {"a": [1.0, 2.0, 3.0], "b": [2.0, 3.0, 4.0], "c": [1.0, 1.2, 1.4]}  # averages 2, 3 and 1.2
    assert ended(MedianStopping(1, 0), "maximize", 3, logged) == {"c"}
    logged["c"].append(9.0)  # what comes later says nothing about interval 3
    assert ended(MedianStopping(1, 0), "maximize", 3, logged) == {"c"}
    logged["c"][0] = 2.1
    assert ended(MedianStopping(1, 0), "maximize", 3, logged) == set()


def test_median_stopping_does_not_end_a_run_whose_values_are_all_the_same() -> None:
    logged = {"only": [0.9] * 200}
    assert [k for k in range(1, 201) if ended(MedianStopping(1, 0), "maximize", k, logged)] == []


def test_truncation_selection_as_documented() -> None:
    """20 percent of five runs is one: the lowest at interval 5, compared with the others as they were then."""
    logged = {name: [place / 10] * 5 for place, name in enumerate("abcde")}
    assert ended(TruncationSelection(1, 5, 20), "maximize", 5, logged) == {"a"}
    assert ended(TruncationSelection(1, 5, 20), "minimize", 5, logged) == {"e"}
    assert ended(TruncationSelection(1, 5, 20), "maximize", 4, logged) == set()
    young = {**logged, "a": [0.0, 0.0], "b": [0.1] * 4 + [0.9]}
    assert ended(TruncationSelection(1, 5, 20), "maximize", 5, young) == set()  # four runs: a fifth of them is none


@given(HISTORIES, POLICIES, GOALS, st.integers(1, 3))
def test_the_best_run_is_never_ended(logged: dict[str, list[float]], policy: Policy, goal: Goal, interval: int) -> None:
    best = (max if goal == "maximize" else min)(
        logged, key=lambda run: (max if goal == "maximize" else min)(logged[run][:interval])
    )
    at_the_top = [
        run
        for run in logged
        if (max if goal == "maximize" else min)(logged[run][:interval])
        == (max if goal == "maximize" else min)(logged[best][:interval])
    ]
    assert not set(at_the_top) <= ended(policy, goal, interval, logged)


@given(HISTORIES, POLICIES, st.integers(1, 3))
def test_to_maximise_is_to_minimise_the_negative(logged: dict[str, list[float]], policy: Policy, interval: int) -> None:
    if isinstance(policy, Bandit) and policy.slack_factor is not None:
        return  # its ratio is of the run's own value one way, and of the best run's the other
    negative = {run: [-value for value in values] for run, values in logged.items()}
    assert ended(policy, "maximize", interval, logged) == ended(policy, "minimize", interval, negative)


@given(HISTORIES, GOALS)
def test_without_a_policy_nobody_is_ended(logged: dict[str, list[float]], goal: Goal) -> None:
    assert ended(None, goal, 1, logged) == set()


def test_values_that_are_no_numbers_are_left_out() -> None:
    nan = float("nan")
    logged = {"best": [0.8, 0.8], "broken": [nan, nan], "odd": [nan, 0.1]}
    assert ended(Bandit(1, 0, 0.2, None), "maximize", 2, logged) == {"odd"}


@pytest.mark.parametrize(
    ("record", "policy"),
    [
        ({"name": "Default"}, None),
        (
            {"name": "Bandit", "properties": {"evaluation_interval": 2, "delay_evaluation": 3, "slack_factor": 0.1}},
            Bandit(2, 3, 0.1, None),
        ),
        ({"name": "MedianStopping", "properties": {"evaluation_interval": 1}}, MedianStopping(1, 0)),
        (
            {
                "name": "TruncationSelection",
                "properties": {"truncation_percentage": 20, "exclude_finished_jobs": False},
            },
            TruncationSelection(1, 0, 20),
        ),
    ],
)
def test_a_policy_is_read_as_the_sdk_sends_it(record: dict[str, Any], policy: Policy | None) -> None:
    assert parse_policy(record) == policy


@pytest.mark.parametrize(
    ("record", "rule"),
    [
        ({"name": "Bandit", "properties": {}}, "exactly one of slack_factor and slack_amount"),
        ({"name": "Bandit", "properties": {"slack_factor": 1, "slack_amount": 1}}, "exactly one"),
        ({"name": "Bandit", "properties": {"slack_factor": "x"}}, "must be a number"),
        ({"name": "MedianStopping", "properties": {"evaluation_interval": 0}}, "evaluation_interval of the policy"),
        ({"name": "MedianStopping", "properties": {"delay_evaluation": -1}}, "delay_evaluation of the policy"),
        ({"name": "TruncationSelection", "properties": {}}, "truncation_percentage of the policy"),
        ({"name": "TruncationSelection", "properties": {"truncation_percentage": 100}}, "from 1 to 99"),
        ({"name": "Hyperband"}, "'Hyperband' is not a policy"),
    ],
)
def test_what_azure_refuses_is_refused_with_the_rule(record: dict[str, Any], rule: str) -> None:
    with pytest.raises(ServiceError, match=rule):
        parse_policy(record)
