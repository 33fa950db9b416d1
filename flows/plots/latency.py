"""How long each stage takes to answer."""

from __future__ import annotations

from collections.abc import Sequence

from flows.plots.drawing import CANDIDATE, LIMIT, PRODUCTION, new_axes, png
from tasks.values import StageReport

_PERCENTILES = (("p50_ms", "p50", CANDIDATE), ("p95_ms", "p95", PRODUCTION), ("p99_ms", "p99", LIMIT))


def plot_latency(stages: Sequence[StageReport]) -> bytes:
    """Milliseconds of each test of a stage; percentiles where the stage was loaded."""
    figure, axes = new_axes("Time to answer, by stage", height=1.3 + 0.45 * len(stages))
    for place, stage in enumerate(stages):
        times = [test.milliseconds for test in stage.tests]
        axes.plot(times, [place] * len(times), "o", color="black", markersize=4, alpha=0.6)
        for name, _, colour in _PERCENTILES if stage.load else ():
            axes.plot(getattr(stage.load, name), place, marker="|", markersize=16, markeredgewidth=2.5, color=colour)
    axes.plot([], [], "o", color="black", markersize=4, alpha=0.6, label="a test")
    if any(stage.load for stage in stages):
        for _, label, colour in _PERCENTILES:
            axes.plot([], [], marker="|", linestyle="", markeredgewidth=2.5, color=colour, label=f"{label} under load")
    axes.set_yticks(range(len(stages)), [stage.stage for stage in stages])
    axes.set_ylim(len(stages) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.set_xlabel("milliseconds")
    axes.legend(frameon=False, fontsize=8)
    return png(figure)
