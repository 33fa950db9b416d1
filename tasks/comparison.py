"""The gate: is the candidate better than the model that production serves? Pure, no I/O."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from settings.deployment import EvaluationParameters, SignificanceSettings
from tasks.errors import MetricNotFinite, MetricNotLogged
from tasks.gate.predictions import Predictions, by_target, function_of, scores
from tasks.gate.rules import Rule, compare_metric, listed_metrics, rules, sentence
from tasks.gate.significance import improvement_interval
from tasks.values import Comparison, Interval, MetricComparison, ModelVersion, TrainedRun


@dataclass(frozen=True)
class TestSet:
    """What both models say about the candidate's test data."""

    __test__ = False  # pytest collects classes by this name

    candidate: Predictions
    production: Predictions | None
    scored_again: bool = False
    """Production's own run was judged on other test data, so that its metrics as logged do not compare."""


def compare(
    candidate: TrainedRun,
    production: ModelVersion | None,
    parameters: EvaluationParameters,
    test_set: TestSet | None = None,
    notes: Sequence[str] = (),
) -> Comparison:
    """Promote the candidate when nothing blocks it and it is better on at least one listed metric.

    Args:
        candidate: the run that was just trained.
        production: the model that production serves; None when it serves none, and then a candidate that misses no
            threshold is promoted as the first.
        test_set: the predictions of both on the same data; without them, no interval is computed.
        notes: what is known about this comparison already.

    Raises:
        MetricNotLogged: candidate or production lacks a listed metric or a slice.
        MetricNotFinite: a listed metric of candidate or production is NaN or infinite.
        TestSetError: a metric does not follow from the predictions.
    """
    listed = listed_metrics(parameters)
    new: Mapping[str, float] = candidate.metrics
    old: Mapping[str, float] = production.metrics if production else {}
    common = test_set.production if test_set else None
    if test_set and common and test_set.scored_again:
        new, old = scores(test_set.candidate, listed), scores(common, listed)
    wanted = tuple(rules(listed, [*new, *old]))
    _check_candidate(candidate, new, wanted)
    if production:
        _check_production(production, old, wanted)
    significance = parameters.significance
    must = significance is not None and significance.required
    table = tuple(
        compare_metric(rule, new[rule.name], old.get(rule.name), _interval(rule, test_set, significance), must)
        for rule in wanted
    )
    promote, reasons = _decide(candidate, production, table, wanted)
    return Comparison(
        promote=promote,
        production=production,
        candidate=candidate,
        table=table,
        reasons=reasons,
        notes=tuple(notes),
        scored_again=test_set is not None and test_set.scored_again,
        test_data_fingerprint=test_set.candidate.fingerprint if test_set else None,
        prediction_bins=by_target(test_set.candidate, common) if test_set else (),
    )


def _interval(rule: Rule, test_set: TestSet | None, settings: SignificanceSettings | None) -> Interval | None:
    """The interval of a metric's improvement, where there are predictions of both models; slices have none."""
    function = function_of(rule.name, rule.settings)
    if settings is None or function is None or test_set is None or test_set.production is None:
        return None
    return improvement_interval(function, rule.larger_is_better, test_set.candidate, test_set.production, settings)


def _decide(
    candidate: TrainedRun, production: ModelVersion | None, table: Sequence[MetricComparison], wanted: Sequence[Rule]
) -> tuple[bool, tuple[str, ...]]:
    blocking = [row for row in table if row.blocks]
    own = [row for row in table if row.slice_of is None]
    if production is None and not blocking:
        numbers = ", ".join(f"{row.name} {row.candidate:.6g}" for row in own)
        return True, (f"production serves no model yet, so the first one is promoted, with {numbers}",)
    if production is not None and candidate.run_id == production.run_id:
        served = f"{production.name} version {production.version}"
        return False, (f"run {candidate.run_id} is the one that {served} in production was made from",)
    better = [row for row in own if row.verdict == "better"]
    settings = {rule.name: rule.settings for rule in wanted}
    reasons = tuple(sentence(row, settings[row.name]) for row in blocking or better or own)
    return not blocking and bool(better), reasons


def _check_candidate(candidate: TrainedRun, metrics: Mapping[str, float], wanted: Sequence[Rule]) -> None:
    run = f"run {candidate.run_id} of experiment {candidate.experiment}"
    if missing := _missing(metrics, wanted):
        raise MetricNotLogged(
            f"The gate compares {missing}, which {run} did not log; it logged {_names(metrics)}.",
            "Log it with run.log in the training script, or correct deployment.model.evaluation_parameters.",
        )
    sliced = {rule.slice_of for rule in wanted}
    if unsliced := [rule.name for rule in wanted if rule.settings.slices is not None and rule.name not in sliced]:
        raise MetricNotLogged(
            f"The gate compares slices of {', '.join(unsliced)}, of which {run} logged none; "
            f"it logged {_names(metrics)}.",
            f"Log them as {unsliced[0]}[group=value], or leave slices out of the metric's settings.",
        )
    if not_finite := _not_finite(metrics, wanted):
        raise MetricNotFinite(
            f"The gate compares finite numbers, but {run} logged {not_finite}.",
            "See in the run's log where the training diverged; such a model is never promoted.",
        )


def _check_production(production: ModelVersion, metrics: Mapping[str, float], wanted: Sequence[Rule]) -> None:
    served = f"{production.name} version {production.version}, which production serves"
    if missing := _missing(metrics, wanted):
        raise MetricNotLogged(
            f"The gate compares {missing}, which the run {production.run_id} of {served}, did not log; "
            f"it logged {_names(metrics)}.",
            "List in deployment.model.evaluation_parameters only metrics that both models have.",
        )
    if not_finite := _not_finite(metrics, wanted):
        raise MetricNotFinite(
            f"The gate compares finite numbers, but the run {production.run_id} of {served}, logged {not_finite}.",
            "List another metric in deployment.model.evaluation_parameters, or put a sound model into production.",
        )


def _missing(metrics: Mapping[str, float], wanted: Iterable[Rule]) -> str:
    return ", ".join(rule.name for rule in wanted if rule.name not in metrics)


def _not_finite(metrics: Mapping[str, float], wanted: Iterable[Rule]) -> str:
    return ", ".join(f"{name} as {metrics[name]}" for name, *_ in wanted if not math.isfinite(metrics[name]))


def _names(metrics: Mapping[str, float]) -> str:
    return ", ".join(sorted(metrics)) or "no metric"
