"""How far each column of the data is from the reference."""

from __future__ import annotations

from flows.plots.drawing import CANDIDATE, LIMIT, PRODUCTION, new_axes, png
from tasks.values import DataReport

_MOST_COLUMNS = 30


def plot_drift(data: DataReport) -> bytes:
    """PSI by column, the largest first, with the limit; at most thirty columns."""
    columns = sorted(data.drift, key=lambda column: -column.psi)[:_MOST_COLUMNS]
    figure, axes = new_axes("Drift from the reference", height=1.3 + 0.22 * len(columns))
    colours = [LIMIT if column.drifted else CANDIDATE for column in columns]
    axes.barh([column.column for column in columns], [column.psi for column in columns], color=colours)
    if data.max_psi is not None:
        axes.axvline(data.max_psi, color=PRODUCTION, linewidth=1, linestyle="--")
    axes.invert_yaxis()
    axes.set_xlabel("population stability index")
    return png(figure)
