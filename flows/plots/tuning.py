"""The course of a tuning: the metric over its trials with the best so far, and the metric against each parameter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from flows.plots.drawing import CANDIDATE, LIMIT, PRODUCTION, png
from tasks.values import Trial, Tuning

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_PARAMETERS = 6
_MOST_COLUMNS = 3
_COLOURS = {"Completed": CANDIDATE, "Canceled": PRODUCTION, "Failed": LIMIT}
_WORDS = {"Completed": "completed", "Canceled": "stopped early", "Failed": "failed"}
_BEST = "#2da44e"


def plot_tuning(tuning: Tuning) -> bytes:
    """A PNG, 7.2 inches wide; of the parameters, the first six."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    names = list(tuning.best_trial.hyperparameters)[:_MOST_PARAMETERS]
    columns = min(len(names), _MOST_COLUMNS)
    rows = math.ceil(len(names) / columns)
    figure = Figure(figsize=(7.2, 3.0 + 2.4 * rows), layout="constrained")
    grid = figure.add_gridspec(1 + rows, columns, height_ratios=[3.0, *[2.4] * rows])
    shown = [trial for trial in tuning.trials if trial.metric is not None and math.isfinite(trial.metric)]

    over_trials = figure.add_subplot(grid[0, :])
    over_trials.set_title(f"{tuning.metric} by trial", loc="left", fontsize=11)
    _scatter(over_trials, tuning, shown, [trial.number for trial in shown])
    numbers, values = best_so_far(tuning)
    over_trials.step(numbers, values, where="post", color=_BEST, linewidth=1, label="best so far")
    over_trials.set_xlabel("trial")
    over_trials.xaxis.set_major_locator(MaxNLocator(integer=True))
    over_trials.legend(frameon=False, fontsize=8, ncols=5, loc="lower right", bbox_to_anchor=(1.0, 1.0))

    for place, name in enumerate(names):
        axes = figure.add_subplot(grid[1 + place // columns, place % columns])
        with_value = [trial for trial in shown if name in trial.hyperparameters]
        _scatter(axes, tuning, with_value, [_position(trial, name) for trial in with_value])
        axes.set_xlabel(name)
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_ylabel(tuning.metric)
    return png(figure)


def best_so_far(tuning: Tuning) -> tuple[list[int], list[float]]:
    """The numbers of the completed trials, and the best metric up to each of them."""
    better = max if tuning.goal == "max" else min
    numbers: list[int] = []
    values: list[float] = []
    for trial in tuning.trials:
        if trial.state == "Completed" and trial.metric is not None and math.isfinite(trial.metric):
            numbers.append(trial.number)
            values.append(better([trial.metric, *values[-1:]]))
    return numbers, values


def _scatter(axes: Axes, tuning: Tuning, trials: Sequence[Trial], positions: Sequence[float | str]) -> None:
    points = [(at, trial.metric or 0.0, trial) for at, trial in zip(positions, trials, strict=True)]
    for state, colour in _COLOURS.items():
        chosen = [(at, metric) for at, metric, trial in points if trial.state == state]
        if chosen:
            at, metrics = zip(*chosen, strict=True)
            axes.scatter(at, metrics, color=colour, s=16, label=_WORDS[state])
    for place, metric, trial in points:
        if trial.number == tuning.best:
            axes.scatter([place], [metric], marker="*", s=110, color=_BEST, zorder=3, label="best")


def _position(trial: Trial, name: str) -> float | str:
    value = trial.hyperparameters[name]
    return str(value) if isinstance(value, (str, bool)) else value
