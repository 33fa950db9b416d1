"""When a child that does badly is ended early: decisions over what the children have logged so far.

Azure: https://learn.microsoft.com/azure/machine-learning/how-to-tune-hyperparameters#specify-early-termination-policy;
SDK: ``azureml.train.hyperdrive.policy``, whose remarks state the rules. Each value that a child logs for the primary
metric is one interval. A child is compared with the others as they were at the same interval, so that a young one is
not ended for being young; those that have not come as far are left out.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from emulator.errors import bad_request, not_emulated
from emulator.hyperdrive.sampling import Goal

Logged = Sequence[float]
"""What one child has logged for the primary metric, in order."""


def best(values: Logged, goal: Goal) -> float | None:
    """The best finite value; ``None`` when there is none."""
    finite = _finite(values)
    return _best(finite, goal) if finite else None


def _best(values: Logged, goal: Goal) -> float:
    return max(values) if goal == "maximize" else min(values)


def _finite(values: Logged) -> list[float]:
    return [value for value in values if math.isfinite(value)]


@dataclass(frozen=True)
class _Policy:
    """What the three policies share: they apply at every multiple of ``evaluation_interval`` from
    ``delay_evaluation`` on."""

    evaluation_interval: int
    delay_evaluation: int

    def applies(self, interval: int) -> bool:
        return interval % self.evaluation_interval == 0 and interval >= self.delay_evaluation


@dataclass(frozen=True)
class Bandit(_Policy):
    """``BanditPolicy``: a child whose best is outside the slack of the best child's is ended. One of the two is set.

    The ratio is taken of the absolute value, so that it is a distance for negative metrics, too.
    """

    slack_factor: float | None
    slack_amount: float | None

    def verdict(self, run_id: str, runs: Mapping[str, Logged], goal: Goal) -> str | None:
        own, leader = _best(runs[run_id], goal), _best([_best(values, goal) for values in runs.values()], goal)
        if self.slack_amount is not None:
            slack, inside = f"amount {self.slack_amount:g}", abs(own - leader) <= self.slack_amount
        else:
            factor = self.slack_factor or 0.0
            slack = f"factor {factor:g}"
            # As the SDK's remarks have it for maximize: own + own * factor is at least the best.
            inside = own + abs(own) * factor >= leader if goal == "maximize" else own <= leader + abs(leader) * factor
        return None if inside else f"its best value {own:g} is outside the slack {slack} of the best run's {leader:g}"


@dataclass(frozen=True)
class MedianStopping(_Policy):
    """``MedianStoppingPolicy``: a child whose best is worse than the median of all running averages is ended."""

    def verdict(self, run_id: str, runs: Mapping[str, Logged], goal: Goal) -> str | None:
        own = _best(runs[run_id], goal)
        median = statistics.median(statistics.fmean(values) for values in runs.values())
        # The average of equal values may differ from them by a rounding.
        if math.isclose(own, median, rel_tol=1e-12) or (own > median if goal == "maximize" else own < median):
            return None
        return f"its best value {own:g} is worse than the median {median:g} of the running averages"


@dataclass(frozen=True)
class TruncationSelection(_Policy):
    """``TruncationSelectionPolicy``: the worst children, of which there are ``truncation_percentage`` of all, are
    ended."""

    truncation_percentage: int

    def verdict(self, run_id: str, runs: Mapping[str, Logged], goal: Goal) -> str | None:
        worst_first = sorted(runs, key=lambda child: _best(runs[child], goal), reverse=goal == "minimize")
        if run_id not in worst_first[: len(runs) * self.truncation_percentage // 100]:
            return None
        own = _best(runs[run_id], goal)
        return f"its best value {own:g} is among the worst {self.truncation_percentage} % of {len(runs)} runs"


Policy = Bandit | MedianStopping | TruncationSelection


def why_to_end(
    policy: Policy | None, goal: Goal, run_id: str, interval: int, logged: Mapping[str, Logged]
) -> str | None:
    """Why a child is ended at an interval, as half a sentence; ``None`` when it goes on.

    Args:
        policy: which is asked; ``None`` ends no child.
        goal: which way the primary metric is better.
        run_id: the child, which has logged at least ``interval`` values.
        interval: how many values are looked at.
        logged: of every child that has logged the metric, ended ones among them.
    """
    if policy is None or not policy.applies(interval):
        return None
    at_interval = {child: _finite(values[:interval]) for child, values in logged.items() if len(values) >= interval}
    runs = {child: values for child, values in at_interval.items() if values}
    # NaN and infinite values compare with nothing: a child that has logged no other goes on.
    return policy.verdict(run_id, runs, goal) if run_id in runs else None


def parse_policy(record: Mapping[str, Any]) -> Policy | None:
    """The ``policy_config`` of a submission; ``None`` for ``NoTerminationPolicy``, which it calls Default.

    Raises:
        ServiceError: 400 for what Azure refuses, with the rule; 501 for ``exclude_finished_jobs``.
    """
    name, given = str(record.get("name") or ""), dict(record.get("properties") or {})
    if name.lower() == "default":
        return None
    interval = _whole(given, "evaluation_interval", 1, least=1)
    delay = _whole(given, "delay_evaluation", 0, least=0)
    if name.lower() == "bandit":
        factor, amount = given.get("slack_factor"), given.get("slack_amount")
        if (factor is None) == (amount is None):
            raise bad_request("The bandit policy needs exactly one of slack_factor and slack_amount.")
        if not isinstance(slack := factor if factor is not None else amount, (int, float)) or slack < 0:
            raise bad_request("The slack of the bandit policy must be a number that is not negative.")
        return Bandit(interval, delay, factor, amount)
    if name.lower() == "medianstopping":
        return MedianStopping(interval, delay)
    if name.lower() == "truncationselection":
        if given.get("exclude_finished_jobs"):
            raise not_emulated("exclude_finished_jobs of the truncation selection policy, which the SDK never sends")
        percentage = _whole(given, "truncation_percentage", 0, least=1)
        if percentage > 99:
            raise bad_request("truncation_percentage must be a whole number from 1 to 99.")
        return TruncationSelection(interval, delay, percentage)
    raise bad_request(f"'{name}' is not a policy: Bandit, MedianStopping, TruncationSelection or Default.")


def _whole(given: Mapping[str, Any], name: str, default: int, *, least: int) -> int:
    value = given.get(name)
    value = default if value is None else value
    if not isinstance(value, int) or value < least:
        raise bad_request(f"{name} of the policy must be a whole number from {least}, not {value!r}.")
    return value
