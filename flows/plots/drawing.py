"""What all plots share: a figure without a window, and its PNG. matplotlib is imported when something is drawn."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CANDIDATE, PRODUCTION, LIMIT = "#1f6feb", "#8b949e", "#d1242f"


def new_axes(title: str, height: float = 3.6) -> tuple[Figure, Axes]:
    """An empty plot, 7.2 inches wide. Not by pyplot, which keeps every figure and is not for threads."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, height), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, loc="left", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def png(figure: Figure) -> bytes:
    """The figure as a PNG file; the same figure gives the same bytes."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110, metadata={"Software": None})
    return file.getvalue()
