"""The gate: is the candidate better than the model that production serves? Pure, no I/O."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from tasks.errors import MetricNotFinite, MetricNotLogged
from tasks.values import Comparison, MetricComparison, ModelVersion, TrainedRun, Verdict


def compare(
    candidate: TrainedRun,
    production: ModelVersion | None,
    larger_is_better: Sequence[str],
    smaller_is_better: Sequence[str],
) -> Comparison:
    """Promote the candidate when it is worse on no listed metric and better on at least one.

    Args:
        candidate: the run that was just trained.
        production: the model that the production service serves; None when it serves none, and then the candidate is
            promoted as the first.
        larger_is_better: names of metrics, as logged.
        smaller_is_better: names of metrics, as logged.

    Raises:
        MetricNotLogged: candidate or production lacks a listed metric.
        MetricNotFinite: a listed metric of candidate or production is NaN or infinite.
    """
    directions = {**dict.fromkeys(larger_is_better, True), **dict.fromkeys(smaller_is_better, False)}
    _check_candidate(candidate, directions)
    if production:
        _check_production(production, directions)

    table = tuple(
        _compare_metric(name, larger, candidate.metrics[name], production.metrics[name] if production else None)
        for name, larger in directions.items()
    )
    promote, reasons = _decide(candidate, production, table)
    return Comparison(promote=promote, production=production, candidate=candidate, table=table, reasons=reasons)


def _decide(
    candidate: TrainedRun, production: ModelVersion | None, table: tuple[MetricComparison, ...]
) -> tuple[bool, tuple[str, ...]]:
    if production is None:
        numbers = ", ".join(f"{row.name} {row.candidate:.6g}" for row in table) or "no listed metric"
        return True, (f"production serves no model yet, so the first one is promoted, with {numbers}",)
    if candidate.run_id == production.run_id:
        served = f"{production.name} version {production.version}"
        return False, (f"run {candidate.run_id} is the one that {served} in production was made from",)
    if not table:
        return False, ("no metric is listed in deployment.model.evaluation_parameters, so none can be better",)

    verdicts = {row.verdict for row in table}
    decisive = "worse" if "worse" in verdicts else "better" if "better" in verdicts else "equal"
    return decisive == "better", tuple(_sentence(row) for row in table if row.verdict == decisive)


def _compare_metric(name: str, larger_is_better: bool, candidate: float, production: float | None) -> MetricComparison:
    verdict: Verdict
    if production is None:
        verdict = "first"
    elif candidate == production:
        verdict = "equal"
    else:
        verdict = "better" if (candidate > production) == larger_is_better else "worse"
    return MetricComparison(
        name=name,
        larger_is_better=larger_is_better,
        candidate=candidate,
        production=production,
        verdict=verdict,
    )


def _sentence(row: MetricComparison) -> str:
    candidate, production = tell_apart(row.candidate, row.production)
    if row.verdict == "equal":
        return f"{row.name} {candidate} is equal to production's, so it is no better"
    direction = "larger" if row.larger_is_better else "smaller"
    return f"{row.name} {candidate} is {row.verdict} than production's {production} ({direction} is better)"


def tell_apart(candidate: float, production: float | None) -> tuple[str, str]:
    """Both numbers with six significant digits, or with as many as it takes to see that they differ."""
    if production is None:
        return f"{candidate:.6g}", "none"
    digits = 6
    while candidate != production and f"{candidate:.{digits}g}" == f"{production:.{digits}g}":
        digits += 1
    return f"{candidate:.{digits}g}", f"{production:.{digits}g}"


def _check_candidate(candidate: TrainedRun, listed: Mapping[str, bool]) -> None:
    run = f"run {candidate.run_id} of experiment {candidate.experiment}"
    if missing := _missing(candidate.metrics, listed):
        raise MetricNotLogged(
            f"The gate compares {missing}, which {run} did not log; it logged {_names(candidate.metrics)}.",
            "Log it with run.log in the training script, or correct deployment.model.evaluation_parameters.",
        )
    if not_finite := _not_finite(candidate.metrics, listed):
        raise MetricNotFinite(
            f"The gate compares finite numbers, but {run} logged {not_finite}.",
            "See in the run's log where the training diverged; such a model is never promoted.",
        )


def _check_production(production: ModelVersion, listed: Mapping[str, bool]) -> None:
    served = f"{production.name} version {production.version}, which production serves"
    if missing := _missing(production.metrics, listed):
        raise MetricNotLogged(
            f"The gate compares {missing}, which the run {production.run_id} of {served}, did not log; "
            f"it logged {_names(production.metrics)}.",
            "List in deployment.model.evaluation_parameters only metrics that both models have.",
        )
    if not_finite := _not_finite(production.metrics, listed):
        raise MetricNotFinite(
            f"The gate compares finite numbers, but the run {production.run_id} of {served}, logged {not_finite}.",
            "List another metric in deployment.model.evaluation_parameters, or put a sound model into production.",
        )


def _missing(metrics: Mapping[str, float], listed: Mapping[str, bool]) -> str:
    return ", ".join(name for name in listed if name not in metrics)


def _not_finite(metrics: Mapping[str, float], listed: Mapping[str, bool]) -> str:
    return ", ".join(f"{name} as {metrics[name]}" for name in listed if not math.isfinite(metrics[name]))


def _names(metrics: Mapping[str, float]) -> str:
    return ", ".join(sorted(metrics)) or "no metric"
