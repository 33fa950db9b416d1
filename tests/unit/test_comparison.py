"""The gate: which model is promoted, and what it says about the others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from settings.deployment import EvaluationParameters
from tasks.comparison import TestSet, compare
from tasks.errors import MetricNotFinite, MetricNotLogged
from tasks.gate.predictions import Predictions
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


def parameters(larger=(), smaller=(), **options: Any) -> EvaluationParameters:
    return EvaluationParameters(larger_is_better=tuple(larger), smaller_is_better=tuple(smaller), **options)


def gate(
    new: dict[str, float], old: dict[str, float] | None, larger=("auc", "r2"), smaller=("mse", "mae")
) -> Comparison:
    served = production(**old) if old is not None else None
    return compare(candidate(**new), served, parameters(larger, smaller))


def sliced(new: dict[str, float], old: dict[str, float] | None, **slices: float) -> Comparison:
    """mse with slices that may lose as much as said."""
    served = production(**old) if old is not None else None
    rules = {"mse": {"direction": "smaller_is_better", "slices": slices}}
    return compare(candidate(**new), served, parameters(metrics=rules))


def predictions(target: Sequence[float], prediction: Sequence[float], **groups: Sequence[str]) -> Predictions:
    return Predictions(
        ids=tuple(map(str, range(len(target)))),
        target=np.array(target, float),
        prediction=np.array(prediction, float),
        groups={name: tuple(values) for name, values in groups.items()},
    )


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
    decision = compare(candidate("same", mse=1.0), production("same", mse=2.0), parameters(smaller=["mse"]))
    assert not decision.promote
    assert decision.reasons == ("run same is the one that diabetes-ridge version 3 in production was made from",)


def test_a_listed_metric_that_the_candidate_did_not_log_is_an_error_that_lists_those_it_did():
    for old in (None, {"rmse": 1.0}):
        with pytest.raises(MetricNotLogged) as caught:
            gate({"mse": 1.0, "alpha": 0.5}, old, larger=["r2"], smaller=["rmse"])
        assert caught.value.message == (
            "The gate compares r2, rmse, which run new of experiment diabetes did not log; it logged alpha, mse."
        )
        assert caught.value.next_step == (
            "Log it with run.log in the training script, or correct deployment.model.evaluation_parameters."
        )


def test_a_listed_metric_that_production_lacks_is_an_error_that_names_the_model():
    with pytest.raises(MetricNotLogged) as caught:
        gate({"rmse": 1.0}, {}, larger=[], smaller=["rmse"])
    assert caught.value.message == (
        "The gate compares rmse, which the run old of diabetes-ridge version 3, which production serves, did not log; "
        "it logged no metric."
    )
    assert caught.value.next_step == (
        "List in deployment.model.evaluation_parameters only metrics that both models have."
    )


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_metric_that_is_no_finite_number_is_an_error_on_either_side(number):
    for old in (None, {"mse": 1.0, "mae": 1.0}):
        with pytest.raises(MetricNotFinite) as caught:
            gate({"mse": number, "mae": number}, old, larger=[], smaller=["mse", "mae"])
        assert caught.value.message == (
            "The gate compares finite numbers, but run new of experiment diabetes logged "
            f"mse as {number}, mae as {number}."
        )
        assert caught.value.next_step == (
            "See in the run's log where the training diverged; such a model is never promoted."
        )
    with pytest.raises(MetricNotFinite) as caught:
        gate({"mse": 1.0}, {"mse": number}, larger=[], smaller=["mse"])
    assert caught.value.message == (
        "The gate compares finite numbers, but the run old of diabetes-ridge version 3, which production serves, "
        f"logged mse as {number}."
    )
    assert caught.value.next_step == (
        "List another metric in deployment.model.evaluation_parameters, or put a sound model into production."
    )


def test_the_decision_says_between_which_models_it_is():
    new, old = candidate(mse=1.0), production(mse=2.0)
    decision = compare(new, old, parameters(smaller=["mse"]))
    assert (decision.candidate, decision.production) == (new, old)


def test_the_first_model_is_described_by_every_metric():
    decision = gate({"mse": 1234567.8, "auc": 0.5}, None, larger=["auc"], smaller=["mse"])
    assert decision.reasons == (
        "production serves no model yet, so the first one is promoted, with auc 0.5, mse 1.23457e+06",
    )


def test_notes_are_kept():
    decision = compare(candidate(mse=1.0), None, parameters(smaller=["mse"]), notes=["the tag disagrees"])
    assert decision.notes == ("the tag disagrees",)


def test_without_a_test_set_there_is_nothing_to_say_about_one():
    decision = compare(candidate(mse=1.0), production(mse=2.0), parameters(smaller=["mse"]))
    assert (decision.notes, decision.scored_again, decision.test_data_fingerprint) == ((), False, None)
    assert decision.prediction_bins == ()
    assert decision.table[0].interval is None


def test_a_first_model_that_misses_a_threshold_is_not_promoted():
    rules = {"mse": {"direction": "smaller_is_better", "threshold": 5.0}}
    decision = compare(candidate(mse=6.0), None, parameters(metrics=rules))
    assert not decision.promote
    assert decision.reasons == ("mse 6 misses the threshold, at most 5",)


def test_a_slice_that_loses_too_much_blocks_a_better_model():
    decision = sliced(
        {"mse": 1.0, "mse[sex=1]": 4.0, "mse[sex=2]": 0.5}, {"mse": 2.0, "mse[sex=1]": 3.0, "mse[sex=2]": 1}
    )
    assert not decision.promote
    assert decision.reasons == ("mse[sex=1] 4 is worse than production's 3 (smaller is better)",)
    assert [(row.name, row.slice_of, row.verdict, row.blocks) for row in decision.table] == [
        ("mse", None, "better", False),
        ("mse[sex=1]", "mse", "worse", True),
        ("mse[sex=2]", "mse", "better", False),
    ]


def test_a_slice_may_lose_what_the_settings_allow():
    decision = sliced({"mse": 1.0, "mse[sex=1]": 4.0}, {"mse": 2.0, "mse[sex=1]": 3.0}, allowed_loss=1.0)
    assert decision.promote
    assert decision.reasons == ("mse 1 is better than production's 2 (smaller is better)",)
    assert decision.table[1].verdict == "tolerated"


def test_a_better_slice_does_not_promote():
    decision = sliced({"mse": 1.0, "mse[sex=1]": 1.0}, {"mse": 1.0, "mse[sex=1]": 2.0})
    assert not decision.promote
    assert decision.reasons == ("mse 1 is equal to production's, so it is no better",)


def test_the_first_model_is_described_by_its_metrics_and_not_by_their_slices():
    decision = sliced({"mse": 1.0, "mse[sex=1]": 2.0}, None)
    assert decision.reasons == ("production serves no model yet, so the first one is promoted, with mse 1",)
    assert [row.verdict for row in decision.table] == ["first", "first"]


def test_only_names_with_brackets_are_slices_and_only_of_their_own_metric():
    metrics = {"mse": 1.0, "mse[a=1]": 1.0, "mse_train": 1.0, "rmse[a=1]": 1.0, "mse[broken": 1.0}
    assert [row.name for row in sliced(metrics, None).table] == ["mse", "mse[a=1]"]


def test_slices_are_asked_for_when_the_settings_have_rules_for_them():
    for old in (None, {"mse": 2.0}):
        with pytest.raises(MetricNotLogged) as caught:
            sliced({"mse": 1.0, "auc[sex=1]": 1.0}, old)
        assert caught.value.message == (
            "The gate compares slices of mse, of which run new of experiment diabetes logged none; "
            "it logged auc[sex=1], mse."
        )
        assert caught.value.next_step == "Log them as mse[group=value], or leave slices out of the metric's settings."


def test_a_missing_slice_is_named_for_the_model_that_lacks_it():
    with pytest.raises(MetricNotLogged, match=r"compares mse\[a=2\], which run new of experiment diabetes did not log"):
        sliced({"mse": 1.0, "mse[a=1]": 1.0}, {"mse": 2.0, "mse[a=1]": 1.0, "mse[a=2]": 1.0})
    with pytest.raises(MetricNotLogged, match=r"compares mse\[a=2\], which the run old of diabetes-ridge"):
        sliced({"mse": 1.0, "mse[a=1]": 1.0, "mse[a=2]": 1.0}, {"mse": 2.0, "mse[a=1]": 1.0})


def test_several_metrics_without_slices_are_named_together():
    rules = {name: {"direction": "smaller_is_better", "slices": {}} for name in ("mse", "mae")}
    with pytest.raises(MetricNotLogged, match=r"compares slices of mse, mae, of which"):
        compare(candidate(mse=1.0, mae=1.0), None, parameters(metrics=rules))


TARGET = [0.0, 0.0, 0.0, 0.0]


def test_production_that_was_scored_again_is_judged_by_its_predictions_and_so_is_the_candidate():
    new, old = predictions(TARGET, [1, 1, 2, 2], sex="1122"), predictions(TARGET, [2, 2, 3, 3], sex="1122")
    rules = {"mse": {"direction": "smaller_is_better", "slices": {}}}
    decision = compare(candidate(mse=99.0), production(mse=0.0), parameters(metrics=rules), TestSet(new, old, True))
    assert decision.promote
    assert decision.scored_again
    assert [(row.name, row.candidate, row.production) for row in decision.table] == [
        ("mse", 2.5, 6.5),
        ("mse[sex=1]", 1.0, 4.0),
        ("mse[sex=2]", 4.0, 9.0),
    ]


def test_on_the_same_test_data_the_logged_metrics_count():
    new, old = predictions(TARGET, [1, 1, 2, 2]), predictions(TARGET, [2, 2, 3, 3])
    decision = compare(candidate(mse=2.5), production(mse=6.5), parameters(smaller=["mse"]), TestSet(new, old))
    assert not decision.scored_again
    assert (decision.table[0].candidate, decision.table[0].production) == (2.5, 6.5)
    assert decision.test_data_fingerprint == new.fingerprint
    assert [(each.rows, each.candidate, each.production) for each in decision.prediction_bins] == [
        (1, 1.0, 2.0),
        (1, 1.0, 2.0),
        (1, 2.0, 3.0),
        (1, 2.0, 3.0),
    ]


def test_the_first_model_has_no_interval_but_predictions_to_show():
    test_set = TestSet(predictions(TARGET, [1, 1, 2, 2]), None)
    listed = parameters(smaller=["mse"], test_set={}, significance={})
    decision = compare(candidate(mse=2.5), None, listed, test_set)
    assert decision.table[0].interval is None
    assert [each.production for each in decision.prediction_bins] == [None] * 4


# Two of four rows are better by 1 and two are worse by 0.9: on the whole better, but by luck.
LUCKY = TestSet(predictions(TARGET, [1, 1, 1.9, 1.9]), predictions(TARGET, [2, 2, 1, 1]))


def test_an_improvement_that_may_be_luck_is_not_promoted_when_it_must_be_significant():
    listed = parameters(smaller=["mae"], test_set={}, significance={"resamples": 100})
    decision = compare(candidate(mae=1.45), production(mae=1.5), listed, LUCKY)
    assert not decision.promote
    (row,) = decision.table
    assert row.verdict == "not significant"
    assert row.interval and row.interval.low < 0 < row.interval.high
    assert decision.reasons[0].startswith(
        "mae 1.45 is better than production's 1.5 (smaller is better), but not signif"
    )


def test_an_interval_that_is_only_reported_does_not_decide():
    listed = parameters(smaller=["mae"], test_set={}, significance={"resamples": 100, "required": False})
    decision = compare(candidate(mae=1.45), production(mae=1.5), listed, LUCKY)
    assert decision.promote
    assert decision.table[0].interval is not None


def test_an_improvement_of_every_row_is_significant():
    listed = parameters(larger=["r2"], smaller=["mse"], test_set={}, significance={"resamples": 100})
    target = [1.0, 2.0, 3.0, 4.0]
    both = TestSet(predictions(target, [1, 2, 3, 4]), predictions(target, [2, 3, 4, 5]))
    decision = compare(candidate(mse=0.0, r2=1.0), production(mse=1.0, r2=0.2), listed, both)
    assert decision.promote
    intervals = {row.name: row.interval for row in decision.table}
    assert intervals["mse"] and (intervals["mse"].low, intervals["mse"].high) == (1.0, 1.0)
    assert intervals["r2"] and intervals["r2"].low > 0


def test_a_metric_that_does_not_follow_from_predictions_has_no_interval():
    listed = parameters(smaller=["loss"], test_set={}, significance={"resamples": 100})
    decision = compare(candidate(loss=1.0), production(loss=2.0), listed, LUCKY)
    assert decision.promote
    assert decision.table[0].interval is None


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
