"""What the candidate and production predict, by target, on the common test data."""

from __future__ import annotations

from collections.abc import Sequence

from flows.plots.drawing import CANDIDATE, LIMIT, PRODUCTION, new_axes, png
from tasks.values import PredictionBin


def plot_predictions(bins: Sequence[PredictionBin]) -> bytes:
    """Mean prediction over mean target, for rows with neighbouring targets; a perfect model is on the diagonal."""
    figure, axes = new_axes("Predictions by target")
    targets = [each.target for each in bins]
    axes.plot(targets, targets, color=LIMIT, linewidth=1, linestyle="--", label="perfect")
    production = [(each.target, each.production) for each in bins if each.production is not None]
    if production:
        axes.plot(*zip(*production, strict=True), color=PRODUCTION, marker="s", markersize=4, label="production")
    axes.plot(targets, [each.candidate for each in bins], color=CANDIDATE, marker="o", markersize=4, label="candidate")
    axes.set_xlabel("mean target")
    axes.set_ylabel("mean prediction")
    axes.legend(frameon=False)
    return png(figure)
