"""Tuning without Azure: the settings as the SDK wants them, how far a tuning is, and what is shown of it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from flows.plots.tuning import best_so_far, plot_tuning
from flows.report import render_markdown
from settings import load
from settings.experiment import HyperparameterSamplingSettings
from tasks.training import arguments
from tasks.tuning import best_trial, progress, rows, tuning_configuration
from tasks.values import ReportedWorkspace, RunReport, Trial, Tuning

if TYPE_CHECKING:
    from azureml.train.hyperdrive import HyperDriveConfig

pytestmark = pytest.mark.unit

LEGACY = Path(__file__).parent / "settings_files" / "legacy.json"
TUNING = "experiment.hyperparameter_sampling"
EXPRESSIONS: dict[str, tuple[dict[str, Any], list[Any]]] = {
    "choice": ({"options": [1, 2.5, "three"]}, [[1, 2.5, "three"]]),
    "randint": ({"upper": 10}, [10]),
    "uniform": ({"min_value": 0.5, "max_value": 1}, [0.5, 1]),
    "loguniform": ({"min_value": -3, "max_value": -1}, [-3, -1]),
    "quniform": ({"min_value": 0, "max_value": 10, "q": 2}, [0, 10, 2]),
    "qloguniform": ({"min_value": 0, "max_value": 3, "q": 1}, [0, 3, 1]),
    "normal": ({"mu": 0, "sigma": 1}, [0, 1]),
    "lognormal": ({"mu": 0, "sigma": 1}, [0, 1]),
    "qnormal": ({"mu": 0, "sigma": 1, "q": 1}, [0, 1, 1]),
    "qlognormal": ({"mu": 0, "sigma": 1, "q": 1}, [0, 1, 1]),
}


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


def configured(settings: HyperparameterSamplingSettings) -> HyperDriveConfig:
    from azureml.core import ScriptRunConfig

    return tuning_configuration(settings, ScriptRunConfig("."), "tuning")


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_each_distribution_becomes_the_sdks_own_of_that_name(name: str) -> None:
    parameters, expected = EXPRESSIONS[name]
    settings = sampling(parameters={"--x": {"distribution": name, "parameters": parameters}})
    space = configured(settings)._generator_config["parameter_space"]
    assert space == {"--x": [name, expected]}


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ({}, {"name": "Default"}),
        ({"name": "noterminal"}, {"name": "Default"}),
        (
            {"name": "bandit", "evaluation_interval": 2, "delay_evaluation": 5, "bandit": {"slack_factor": 0.2}},
            {"name": "Bandit", "properties": {"evaluation_interval": 2, "delay_evaluation": 5, "slack_factor": 0.2}},
        ),
        (
            {"name": "bandit", "bandit": {"slack_amount": 3}},
            {"name": "Bandit", "properties": {"evaluation_interval": 1, "delay_evaluation": 0, "slack_amount": 3}},
        ),
        (
            {"name": "medianstopping"},
            {"name": "MedianStopping", "properties": {"evaluation_interval": 1, "delay_evaluation": 0}},
        ),
        (
            {"name": "truncationselection", "truncationselection": {"truncation_percentage": 20}},
            {
                "name": "TruncationSelection",
                "properties": {
                    "evaluation_interval": 1,
                    "delay_evaluation": 0,
                    "truncation_percentage": 20,
                    "exclude_finished_jobs": False,
                },
            },
        ),
    ],
)
def test_each_policy_becomes_the_sdks_own(policy: dict[str, Any], expected: dict[str, Any]) -> None:
    assert configured(sampling(policy=policy))._policy_config == expected


@pytest.mark.parametrize(
    ("method", "name"), [("random", "RANDOM"), ("grid", "GRID"), ("bayesian", "BayesianOptimization")]
)
def test_method_goal_and_budgets_reach_the_sdk(method: str, name: str) -> None:
    choice = {"--x": {"distribution": "choice", "parameters": {"options": [1, 2]}}}
    config = configured(sampling(method=method, parameters=choice, primary_metric_goal="max", max_duration_minutes=30))
    assert config._generator_config["name"] == name
    assert config._primary_metric_config == {"name": "mse", "goal": "maximize"}
    budgets = (config._max_total_runs, config._max_concurrent_runs, config._max_duration_minutes)
    assert budgets == (20, 4, 30)
    assert config._custom_run_id == "tuning"


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
