"""Predictions on test data: what is read, what it is known by, and how it is scored."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from settings.deployment import MetricSettings
from tasks.errors import TestSetError
from tasks.gate.predictions import Predictions, answered, by_target, function_of, parse, score, scores

pytestmark = pytest.mark.unit

TEXT = "id,target,prediction,sex\n7,1,2,f\n8,3,3,m\n9,5,2,f\n"
MEND = "Let the training script write one row per example with the columns id, target and prediction."


def of(target: list[Any], prediction: list[Any], **groups: str) -> Predictions:
    return Predictions(
        ids=tuple(map(str, range(len(target)))),
        target=np.array(target, float),
        prediction=np.array(prediction, float),
        groups={name: tuple(values) for name, values in groups.items()},
    )


def metric(**options: Any) -> MetricSettings:
    return MetricSettings.model_validate({"direction": "smaller_is_better", **options})


def test_a_file_has_ids_targets_predictions_and_groups() -> None:
    read = parse(TEXT, "run 'r'")
    assert read.ids == ("7", "8", "9")
    assert read.target.tolist() == [1.0, 3.0, 5.0]
    assert read.prediction.tolist() == [2.0, 3.0, 2.0]
    assert read.groups == {"sex": ("f", "m", "f")}


def test_what_is_no_number_makes_all_of_it_text() -> None:
    read = parse("id,target,prediction\n1,cat,1\n2,dog,2\n", "run 'r'")
    assert read.target.tolist() == ["cat", "dog"]
    assert read.target.dtype == object
    assert read.prediction.tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "no id, target, prediction"),
        ("id,target\n1,2\n", "no prediction"),
        ("id,target,prediction\n", "no row"),
        ("id,target,prediction\n1,2\n", "rows of different lengths"),
        ("id,target,prediction\n1,2,3,4\n", "rows of different lengths"),
        ("id,target,prediction\n1,2,3\n1,2,4\n", "an id more than once"),
    ],
)
def test_a_file_that_cannot_be_used_says_why_and_whose_it_is(text: str, problem: str) -> None:
    with pytest.raises(TestSetError) as caught:
        parse(text, "run 'r'")
    assert caught.value.message == f"The predictions of run 'r' have {problem}."
    assert caught.value.next_step == MEND


def test_the_fingerprint_is_of_ids_and_targets_in_any_order_and_of_nothing_else() -> None:
    assert parse(TEXT, "").fingerprint == hashlib.sha256(b"7\x001.0\n8\x003.0\n9\x005.0").hexdigest()
    same = parse("id,prediction,target\n9,1,5.0\n8,1,3\n7,1,1e0\n", "")
    assert same.fingerprint == parse(TEXT, "").fingerprint
    for other in (TEXT.replace("7,1", "7,1.5"), TEXT.replace("7,1", "6,1"), TEXT.replace("9,5,2,f\n", "")):
        assert parse(other, "").fingerprint != parse(TEXT, "").fingerprint


def test_rows_are_put_into_another_order_as_a_whole() -> None:
    turned = parse(TEXT, "").in_order_of(["9", "7", "8"])
    assert turned.ids == ("9", "7", "8")
    assert turned.target.tolist() == [5.0, 1.0, 3.0]
    assert turned.prediction.tolist() == [2.0, 2.0, 3.0]
    assert turned.groups == {"sex": ("f", "f", "m")}


def test_a_slice_is_each_value_of_each_group() -> None:
    parts = dict(parse("id,target,prediction,sex,old\n1,1,2,m,y\n2,3,4,f,y\n", "").slices())
    assert list(parts) == ["sex=f", "sex=m", "old=y"]
    assert [part.ids for part in parts.values()] == [("2",), ("1",), ("1", "2")]


def test_the_answers_of_another_model_take_the_place_of_the_predictions() -> None:
    asked = parse(TEXT, "")
    other = answered(asked, [1, 2.5, "3"], "Service 's'")
    assert other.prediction.tolist() == [1.0, 2.5, 3.0]
    assert (other.ids, other.groups) == (asked.ids, asked.groups)
    assert answered(asked, ["cat", "dog", "cat"], "").prediction.tolist() == ["cat", "dog", "cat"]
    for answers in ([1, 2], [1, 2, 3, 4]):
        with pytest.raises(TestSetError) as caught:
            answered(asked, answers, "Service 's'")
        assert caught.value.message == (
            f"Service 's' gave {len(answers)} predictions for 3 rows of the candidate's test data."
        )
        assert caught.value.next_step == (
            "Let the training script write requests with the rows of its predictions, in their order."
        )


@pytest.mark.parametrize(
    ("function", "expected"),
    [("mse", 10 / 3), ("rmse", math.sqrt(10 / 3)), ("mae", 4 / 3), ("r2", 1 - 10 / 8), ("accuracy", 1 / 3)],
)
def test_the_metrics_are_the_usual_ones(function: Any, expected: float) -> None:
    assert score(of([1, 3, 5], [2, 3, 2]), function) == pytest.approx(expected, rel=1e-12)


def test_r2_of_equal_targets_is_1_for_perfect_predictions_and_else_0() -> None:
    assert score(of([2, 2], [2, 2]), "r2") == 1.0
    assert score(of([2, 2], [2, 3]), "r2") == 0.0


def test_text_is_scored_by_accuracy_only() -> None:
    read = parse("id,target,prediction\n1,cat,cat\n2,dog,cat\n", "")
    assert score(read, "accuracy") == 0.5
    for text in (read, parse("id,target,prediction\n1,cat,1\n", ""), parse("id,target,prediction\n1,1,cat\n", "")):
        with pytest.raises(TestSetError) as caught:
            score(text, "mse")
        assert caught.value.message == "mse wants numbers, but targets or predictions are text."
        assert caught.value.next_step == "Name accuracy, or predict numbers."


def test_scores_have_the_names_by_which_a_script_logs_them() -> None:
    rules = {"mae": metric(slices={}), "error": metric(function="mse")}
    assert scores(parse(TEXT, ""), rules) == {
        "mae": pytest.approx(4 / 3),
        "mae[sex=f]": 2.0,
        "mae[sex=m]": 0.0,
        "error": pytest.approx(10 / 3),
    }


def test_a_metric_of_an_unknown_kind_cannot_be_scored_again() -> None:
    with pytest.raises(TestSetError) as caught:
        scores(parse(TEXT, ""), {"loss": metric()})
    assert caught.value.message == (
        "Production must be scored on the candidate's test data, but how loss is computed is not known."
    )
    assert caught.value.next_step == (
        "Set deployment.model.evaluation_parameters.metrics.loss.function, or leave test_set out."
    )


def test_a_metric_is_computed_as_its_rule_says_and_else_as_its_name_does() -> None:
    assert function_of("mse", metric()) == "mse"
    assert function_of("mse", metric(function="mae")) == "mae"
    assert function_of("loss", metric()) is None


def test_bins_hold_neighbouring_targets_with_the_means_of_both_models() -> None:
    target = [float(number) for number in range(24, -1, -1)]
    bins = by_target(of(target, [each + 1 for each in target]), of(target, [each + 2 for each in target]))
    assert [each.rows for each in bins] == [3, 3, 3, 3, 3, 2, 2, 2, 2, 2]
    assert (bins[0].target, bins[0].candidate, bins[0].production) == (1.0, 2.0, 3.0)
    assert (bins[-1].target, bins[-1].candidate, bins[-1].production) == (23.5, 24.5, 25.5)


def test_rows_of_one_target_keep_their_order_in_the_bins() -> None:
    bins = by_target(of([1] * 40, range(40)), None)
    assert [each.candidate for each in bins] == [1.5 + 4 * number for number in range(10)]
    assert {each.production for each in bins} == {None}


def test_text_has_no_bins() -> None:
    text = parse("id,target,prediction\n1,cat,cat\n2,dog,cat\n3,cat,cat\n", "")
    assert by_target(text, None) == ()
    assert by_target(parse(TEXT, ""), text) == ()


TENTHS = st.integers(-1000, 1000).map(lambda tenths: tenths / 10)
PAIRS = st.lists(st.tuples(TENTHS, TENTHS), min_size=1, max_size=30)


@given(PAIRS)
def test_rmse_is_the_root_of_mse_and_never_below_mae(pairs: list[tuple[float, float]]) -> None:
    read = of([target for target, _ in pairs], [prediction for _, prediction in pairs])
    assert score(read, "rmse") == pytest.approx(math.sqrt(score(read, "mse")))
    assert score(read, "rmse") >= score(read, "mae") * (1 - 1e-9)


@given(PAIRS, st.randoms())
def test_no_metric_depends_on_the_order_of_rows(pairs: list[tuple[float, float]], random: Any) -> None:
    read = of([target for target, _ in pairs], [prediction for _, prediction in pairs])
    ids = list(read.ids)
    random.shuffle(ids)
    shuffled = read.in_order_of(ids)
    for function in ("mse", "rmse", "mae", "accuracy"):
        assert score(shuffled, function) == pytest.approx(score(read, function))  # type: ignore[arg-type]
    assert shuffled.fingerprint == read.fingerprint
    assert shuffled.in_order_of(read.ids).prediction.tolist() == read.prediction.tolist()
