"""Tuning without Azure: the script's arguments, how far a tuning is, and what is shown of it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from flows.plots.tuning import best_so_far, plot_tuning
from flows.report import render_markdown
from settings import load
from settings.experiment import HyperparameterSamplingSettings
from tasks.training import arguments
from tasks.tuning import best_trial, progress, rows
from tasks.values import ReportedWorkspace, RunReport, Trial, Tuning

pytestmark = pytest.mark.unit

LEGACY = Path(__file__).parent / "settings_files" / "legacy.json"
TUNING = "experiment.hyperparameter_sampling"


def sampling(**changed: Any) -> HyperparameterSamplingSettings:
    given = {
        "use_hyperparameter_sampling": True,
        "method": "random",
        "parameters": {"--x": {"distribution": "uniform", "parameters": {"min_value": 0, "max_value": 1}}},
        "policy": {},
        "primary_metric_name": "mse",
        "primary_metric_goal": "min",
        "max_total_runs": 20,
        "max_concurrent_runs": 4,
        "max_duration_minutes": None,
        **changed,
    }
    overrides = [f"{TUNING}.{name}={json.dumps(value)}" for name, value in given.items()]
    return load(LEGACY, overrides, {}).experiment.hyperparameter_sampling


def test_what_is_tuned_is_not_among_the_scripts_own_arguments() -> None:
    overrides = [
        f"{TUNING}.parameters={json.dumps({'--x': {'distribution': 'randint', 'parameters': {'upper': 3}}})}",
        'experiment.script_parameters={"--x": 1, "--epochs": 5, "--fast": null}',
    ]
    assert arguments(load(LEGACY, overrides, {}).experiment) == ["--epochs", 5, "--fast"]
    overrides.append(f"{TUNING}.use_hyperparameter_sampling=false")
    assert arguments(load(LEGACY, overrides, {}).experiment) == ["--x", 1, "--epochs", 5, "--fast"]


def trial(number: int, metric: float | None, state: str = "Completed", x: float = 0.25) -> Trial:
    return Trial(number=number, run_id=f"t_{number}", hyperparameters={"--x": x}, metric=metric, state=state)


TRIALS = (
    trial(0, 3.0),
    trial(1, 1.0, "Canceled"),
    trial(2, 2.0, x=0.5),
    trial(3, None, "Failed"),
    trial(4, math.nan),
    trial(5, None, "Running"),
)


def test_the_best_trial_has_completed_with_a_finite_metric() -> None:
    assert best_trial(TRIALS, "min") == TRIALS[2]
    assert best_trial(TRIALS, "max") == TRIALS[0]
    assert best_trial(TRIALS[3:], "min") is None


def test_progress_is_one_line() -> None:
    assert progress((), sampling()) == "0 of 20 done"
    assert progress(TRIALS, sampling()) == "5 of 20 done, 1 stopped early, 1 failed, best mse 2 (--x 0.5)"


def test_the_children_are_a_table_with_the_best_marked() -> None:
    header, *table = rows(TRIALS, sampling())
    assert header == ["child", "--x", "mse", "state"]
    assert table[2] == ["2", "0.5", "2", "Completed, best"]
    assert table[3] == ["3", "0.25", "", "Failed"]


def tuned() -> Tuning:
    return Tuning(
        run_id="t",
        portal_url="https://ml.azure.com/t",
        method="random",
        policy="bandit",
        metric="mse",
        goal="min",
        trials=TRIALS[:5],
        best=2,
    )


def test_the_best_so_far_only_gets_better() -> None:
    assert best_so_far(tuned()) == ([0, 2], [3.0, 2.0])


def test_the_plot_is_a_png_and_the_report_has_it_with_the_table() -> None:
    assert plot_tuning(tuned()).startswith(b"\x89PNG")
    report = RunReport(
        outcome="NotPromoted",
        started="2026-01-01T00:00:00Z",
        settings="settings.json",
        workspace=ReportedWorkspace(name="w", cloud="emulator"),
        tuning=tuned(),
        timings={},
        total_seconds=1,
    )
    text = render_markdown(report, {"tuning.png": "tuning.png"})
    assert "Random sampling, policy bandit: 5 trials, best mse 2 in trial 2; smaller is better." in text
    assert "](tuning.png)" in text
    assert "| 2, best | 0.5 | 2 | Completed |" in text
    assert "](tuning.png)" not in render_markdown(report)
    assert RunReport.model_validate_json(report.model_dump_json()).tuning.trials[:4] == tuned().trials[:4]
