"""How much the candidate improves on production, metric by metric and slice by slice."""

from __future__ import annotations

from collections.abc import Sequence

from flows.plots.drawing import CANDIDATE, LIMIT, PRODUCTION, new_axes, png
from tasks.values import MetricComparison


def comparable(table: Sequence[MetricComparison]) -> list[MetricComparison]:
    """The rows whose improvement can be shown as a percentage of production's value."""
    return [row for row in table if row.improvement is not None and row.production]


def plot_improvements(table: Sequence[MetricComparison]) -> bytes:
    """Improvement in percent of production's value, right of zero for better, with the interval where there is one."""
    rows = comparable(table)
    figure, axes = new_axes("Improvement over production", height=1.3 + 0.35 * len(rows))
    for place, row in enumerate(rows):
        scale = 100 / abs(row.production or 1.0)
        improvement = (row.improvement or 0.0) * scale
        colour = LIMIT if row.blocks else CANDIDATE if improvement >= 0 else PRODUCTION
        if row.interval is not None:
            axes.hlines(place, row.interval.low * scale, row.interval.high * scale, color=colour, linewidth=2)
        axes.plot(improvement, place, marker="D" if row.slice_of else "o", color=colour)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(rows)), [row.name for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel("percent of production's value; right is better")
    return png(figure)
