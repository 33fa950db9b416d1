"""The gate: which model is promoted, and what it says about the others."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.comparison import compare
from tasks.errors import MetricNotFinite, MetricNotLogged
from tasks.values import Comparison, ModelVersion, TrainedRun

pytestmark = pytest.mark.unit


def candidate(run_id: str = "new", **metrics: float) -> TrainedRun:
    return TrainedRun(
        experiment="diabetes",
        run_id=run_id,
        metrics=metrics,
        portal_url="https://ml.azure.com/runs/new",
        environment_name="training",
        environment_version="1",
        compute_target="cpu-cluster",
    )


def production(run_id: str = "old", **metrics: float) -> ModelVersion:
    return ModelVersion(name="diabetes-ridge", version=3, run_id=run_id, experiment="diabetes", metrics=metrics)


def gate(
    new: dict[str, float], old: dict[str, float] | None, larger=("auc", "r2"), smaller=("mse", "mae")
) -> Comparison:
    served = production(**old) if old is not None else None
    return compare(candidate(**new), served, larger, smaller)


def test_a_better_model_is_promoted_with_the_numbers_that_say_so():
    decision = gate({"mse": 2854.9706}, {"mse": 2917.1765}, larger=[], smaller=["mse"])
    assert decision.promote
    assert decision.reasons == ("mse 2854.97 is better than production's 2917.18 (smaller is better)",)


def test_a_worse_model_is_not_promoted_with_the_numbers_that_say_so():
    decision = gate({"mse": 2917.1765}, {"mse": 2854.9706}, larger=[], smaller=["mse"])
    assert not decision.promote
    assert decision.reasons == ("mse 2917.18 is worse than production's 2854.97 (smaller is better)",)


def test_an_equal_model_is_not_promoted():
    decision = gate({"mse": 2917.18}, {"mse": 2917.18}, larger=[], smaller=["mse"])
    assert not decision.promote
    assert decision.reasons == ("mse 2917.18 is equal to production's, so it is no better",)


def test_one_worse_metric_outweighs_all_better_ones_and_is_the_one_named():
    decision = gate({"auc": 0.9, "mse": 2.0}, {"auc": 0.8, "mse": 1.0}, larger=["auc"], smaller=["mse"])
    assert not decision.promote
    assert decision.reasons == ("mse 2 is worse than production's 1 (smaller is better)",)
    assert [(row.name, row.verdict) for row in decision.table] == [("auc", "better"), ("mse", "worse")]


def test_one_better_metric_is_enough_when_the_others_are_equal():
    decision = gate({"auc": 0.9, "mse": 1.0}, {"auc": 0.8, "mse": 1.0}, larger=["auc"], smaller=["mse"])
    assert decision.promote
    assert decision.reasons == ("auc 0.9 is better than production's 0.8 (larger is better)",)


def test_numbers_that_differ_late_are_written_out_until_they_differ():
    decision = gate({"mse": 0.123456781}, {"mse": 0.123456782}, larger=[], smaller=["mse"])
    assert decision.reasons == ("mse 0.123456781 is better than production's 0.123456782 (smaller is better)",)


def test_the_first_model_is_promoted():
    decision = gate({"mse": 2917.18, "alpha": 0.5}, None, larger=[], smaller=["mse"])
    assert decision.promote
    assert decision.production is None
    assert decision.reasons == ("production serves no model yet, so the first one is promoted, with mse 2917.18",)
    assert [(row.production, row.verdict) for row in decision.table] == [(None, "first")]


def test_a_run_is_not_compared_with_itself():
    decision = compare(candidate("same", mse=1.0), production("same", mse=2.0), [], ["mse"])
    assert not decision.promote
    assert decision.reasons == ("run same is the one that diabetes-ridge version 3 in production was made from",)


def test_without_a_listed_metric_nothing_replaces_the_model_in_production():
    decision = gate({"mse": 1.0}, {"mse": 2.0}, larger=[], smaller=[])
    assert not decision.promote
    assert decision.reasons == ("no metric is listed in deployment.model.evaluation_parameters, so none can be better",)


def test_a_listed_metric_that_the_candidate_did_not_log_is_an_error_that_lists_those_it_did():
    for old in (None, {"rmse": 1.0}):
        with pytest.raises(
            MetricNotLogged, match="rmse, which run new of experiment diabetes did not log; it logged alpha, mse"
        ):
            gate({"mse": 1.0, "alpha": 0.5}, old, larger=[], smaller=["rmse"])


def test_a_listed_metric_that_production_lacks_is_an_error_that_names_the_model():
    with pytest.raises(
        MetricNotLogged, match=r"rmse, which the run old of diabetes-ridge version 3, .* it logged no metric"
    ):
        gate({"rmse": 1.0}, {}, larger=[], smaller=["rmse"])


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_metric_that_is_no_finite_number_is_an_error_on_either_side(number):
    for old in (None, {"mse": 1.0}):
        with pytest.raises(MetricNotFinite, match=f"run new of experiment diabetes logged mse as {number}"):
            gate({"mse": number}, old, larger=[], smaller=["mse"])
    with pytest.raises(MetricNotFinite, match=f"the run old of diabetes-ridge version 3, .* logged mse as {number}"):
        gate({"mse": 1.0}, {"mse": number}, larger=[], smaller=["mse"])


# Few different numbers, so that equal metrics come up often; and all finite ones, for the extremes.
NUMBERS = st.sampled_from([-1.0, 0.0, 0.5, 1.0]) | st.floats(allow_nan=False, allow_infinity=False)
METRICS = st.fixed_dictionaries({"auc": NUMBERS, "r2": NUMBERS, "mse": NUMBERS, "mae": NUMBERS})


@given(METRICS, METRICS)
def test_of_two_models_at_most_one_replaces_the_other(one, other):
    assert not (gate(one, other).promote and gate(other, one).promote)


@given(METRICS, METRICS, METRICS)
def test_a_model_that_replaces_a_second_which_replaces_a_third_replaces_the_third(one, second, third):
    if gate(one, second).promote and gate(second, third).promote:
        assert gate(one, third).promote


@given(METRICS)
def test_equal_metrics_never_promote(metrics):
    assert not gate(metrics, metrics).promote


@given(METRICS, METRICS)
def test_a_promoted_model_is_worse_on_nothing_and_better_on_something(new, old):
    worse = any(new[name] < old[name] for name in ("auc", "r2")) or any(
        new[name] > old[name] for name in ("mse", "mae")
    )
    assert gate(new, old).promote == (new != old and not worse)


@given(METRICS, METRICS, st.permutations(["auc", "r2"]), st.permutations(["mse", "mae"]))
def test_the_order_of_the_list_does_not_matter(new, old, larger, smaller):
    listed, reordered = gate(new, old), gate(new, old, larger, smaller)
    assert listed.promote == reordered.promote
    assert set(listed.reasons) == set(reordered.reasons)


@given(METRICS, METRICS)
def test_turning_every_sign_and_every_direction_round_changes_nothing(new, old):
    def turn(metrics):
        return {name: -value for name, value in metrics.items()}

    turned = gate(turn(new), turn(old), larger=["mse", "mae"], smaller=["auc", "r2"])
    assert turned.promote == gate(new, old).promote


@given(METRICS, METRICS, st.floats())
def test_a_metric_that_is_not_listed_does_not_matter(new, old, number):
    assert gate({**new, "alpha": number}, old).promote == gate(new, old).promote


@given(METRICS, METRICS)
def test_a_decision_has_a_reason_and_a_row_for_every_listed_metric(new, old):
    decision = gate(new, old)
    assert decision.reasons
    assert [row.name for row in decision.table] == ["auc", "r2", "mse", "mae"]
