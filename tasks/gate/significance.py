"""Is an improvement more than luck? A paired bootstrap over the rows of the common test data. Pure, no I/O.

Rows are drawn again and again with replacement, for both models the same ones, and the metric's improvement is
computed each time. The interval reaches from quantile to quantile of these improvements (the percentile method;
Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13).
"""

from __future__ import annotations

import numpy as np

from settings.deployment import MetricFunction, SignificanceSettings
from tasks.gate.predictions import FUNCTIONS, Predictions
from tasks.values import Interval


def improvement_interval(
    function: MetricFunction,
    larger_is_better: bool,
    candidate: Predictions,
    production: Predictions,
    settings: SignificanceSettings,
) -> Interval:
    """The interval of the candidate's improvement, in the metric's unit; the same for the same seed.

    Args:
        production: of the same rows in the same order.
    """
    metric, target, rows = FUNCTIONS[function], candidate.target, len(candidate.ids)
    random = np.random.default_rng(settings.seed)
    improvements = np.empty(settings.resamples)
    for number in range(settings.resamples):
        drawn = random.integers(rows, size=rows)
        gain = metric(target[drawn], candidate.prediction[drawn]) - metric(target[drawn], production.prediction[drawn])
        improvements[number] = gain if larger_is_better else -gain
    tail = (1 - settings.confidence) / 2
    low, high = np.quantile(improvements, [tail, 1 - tail])
    return Interval(low=float(low), high=float(high), confidence=settings.confidence)
