"""The rules of one metric: what the candidate's number is worth beside production's. Pure, no I/O.

Numbers are compared as they are written in decimal: 0.3 is better than 0.2 by exactly 0.1, and so meets a demanded
improvement of 0.1, although their difference in binary does not.

A bound is met by the number that equals it: a threshold, a demanded improvement, an allowed loss. Relative bounds are
fractions of the absolute value of production's number; where that is zero, any improvement meets a demanded one, and
no loss is allowed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

from settings.deployment import EvaluationParameters, MetricSettings
from tasks.values import Interval, MetricComparison, Verdict


class Rule(NamedTuple):
    """A metric, or a slice of one, with what must hold for it."""

    name: str
    settings: MetricSettings
    slice_of: str | None = None

    @property
    def larger_is_better(self) -> bool:
        return self.settings.direction == "larger_is_better"

    @property
    def demands(self) -> bool:
        return bool(self.settings.min_absolute_improvement or self.settings.min_relative_improvement)


def listed_metrics(parameters: EvaluationParameters) -> dict[str, MetricSettings]:
    """Every listed metric with its rules; one that is in a list only has none but its direction."""
    return {
        **{name: MetricSettings(direction="larger_is_better") for name in parameters.larger_is_better},
        **{name: MetricSettings(direction="smaller_is_better") for name in parameters.smaller_is_better},
        **parameters.metrics,
    }


def rules(listed: Mapping[str, MetricSettings], logged: Iterable[str]) -> Iterator[Rule]:
    """Each metric, followed by its slices among the ``logged`` names where the settings look at slices."""
    for name, settings in listed.items():
        yield Rule(name, settings)
        if settings.slices is not None:
            of_slice = MetricSettings(direction=settings.direction, **dict(settings.slices))
            parts = sorted({part for part in logged if part.startswith(f"{name}[") and part.endswith("]")})
            yield from (Rule(part, of_slice, slice_of=name) for part in parts)


def compare_metric(
    rule: Rule, candidate: float, production: float | None, interval: Interval | None, must_be_significant: bool
) -> MetricComparison:
    """One row of the gate's table.

    Args:
        production: None when production serves no model yet.
        interval: of the improvement, where it is known.
        must_be_significant: count as better only when the interval lies above zero.
    """
    verdict = _verdict(rule, candidate, production)
    if must_be_significant and verdict == "better" and interval is not None and interval.low <= 0:
        verdict = "not significant"
    return MetricComparison(
        name=rule.name,
        larger_is_better=rule.larger_is_better,
        candidate=candidate,
        production=production,
        verdict=verdict,
        blocks=verdict in _BLOCKING or (verdict == "not significant" and rule.demands),
        slice_of=rule.slice_of,
        improvement=None if production is None else _as_float(_improvement(rule, candidate, production)),
        interval=interval,
    )


def sentence(row: MetricComparison, rule: MetricSettings) -> str:
    """Why a row has its verdict, with the numbers."""
    candidate, production = tell_apart(row.candidate, row.production)
    direction = f"({'larger' if row.larger_is_better else 'smaller'} is better)"
    allowed = _bounds(rule.allowed_loss, rule.allowed_relative_loss)
    demanded = _bounds(rule.min_absolute_improvement, rule.min_relative_improvement)
    worse = f"{row.name} {candidate} is worse than production's {production}"
    by = f"by {abs(row.improvement or 0.0):.6g}"
    if row.verdict == "misses threshold":
        bound = "at least" if row.larger_is_better else "at most"
        return f"{row.name} {candidate} misses the threshold, {bound} {rule.threshold:.6g}"
    if row.verdict == "equal":
        return f"{row.name} {candidate} is equal to production's, so it is no better"
    if row.verdict == "too little":
        return f"{row.name} {candidate} improves on production's {production} {by}, less than the demanded {demanded}"
    if row.verdict == "tolerated":
        return f"{worse} {by}, within the allowed {allowed}"
    if row.verdict == "worse":
        return f"{worse} {by}, more than the allowed {allowed}" if allowed else f"{worse} {direction}"
    better = f"{row.name} {candidate} is better than production's {production} {direction}"
    if row.verdict == "not significant" and row.interval is not None:
        return f"{better}, but not significantly: the improvement lies {between(row.interval)}"
    return better


def between(interval: Interval) -> str:
    """The interval in words."""
    return f"between {interval.low:.4g} and {interval.high:.4g} with {interval.confidence:.4g} confidence"


def tell_apart(candidate: float, production: float | None) -> tuple[str, str]:
    """Both numbers with six significant digits, or with as many as it takes to see that they differ."""
    if production is None:
        return f"{candidate:.6g}", "none"
    shown = f"{candidate:.6g}", f"{production:.6g}"
    alike = shown[0] == shown[1] and candidate != production
    return (repr(candidate), repr(production)) if alike else shown


_BLOCKING = ("worse", "too little", "misses threshold")


def _verdict(rule: Rule, candidate: float, production: float | None) -> Verdict:
    settings = rule.settings
    if settings.threshold is not None and _improvement(rule, candidate, settings.threshold) < 0:
        return "misses threshold"
    if production is None:
        return "first"
    improvement, size = _improvement(rule, candidate, production), abs(_exact(production))
    if improvement < 0:
        allowed = _given(settings.allowed_loss, settings.allowed_relative_loss, size)
        return "tolerated" if allowed and -improvement <= min(allowed) else "worse"
    demanded = _given(settings.min_absolute_improvement, settings.min_relative_improvement, size)
    if demanded and (not improvement or improvement < max(demanded)):
        return "too little"
    return "better" if improvement else "equal"


def _improvement(rule: Rule, candidate: float, production: float) -> Fraction:
    difference = _exact(candidate) - _exact(production)
    return difference if rule.larger_is_better else -difference


def _given(absolute: float | None, relative: float | None, size: Fraction) -> list[Fraction]:
    """The bounds that are given, in the metric's unit."""
    bounds = [] if absolute is None else [_exact(absolute)]
    return bounds if relative is None else [*bounds, _exact(relative) * size]


def _bounds(absolute: float | None, relative: float | None) -> str:
    given = [] if absolute is None else [f"{absolute:.6g}"]
    return " and ".join(given if relative is None else [*given, f"{relative:.6g} of it"])


def _exact(number: float) -> Fraction:
    """The number as it is written: 0.1 is a tenth."""
    return Fraction(repr(number))


def _as_float(number: Fraction) -> float:
    """The nearest float; infinite where there is none, as between two metrics at the ends of what a float holds."""
    return float(Decimal(number.numerator) / Decimal(number.denominator))
