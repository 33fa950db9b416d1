"""Tuning as a user switches it on: the best child climbs; what cannot be tuned ends the tuning early."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.flow.conftest import Checkout

pytestmark = pytest.mark.backends

TUNING = "experiment.hyperparameter_sampling"
UNIFORM = {"--alpha": {"distribution": "uniform", "parameters": {"min_value": 0.05, "max_value": 1.0}}}
CHOICE = {"--alpha": {"distribution": "choice", "parameters": {"options": [0.5, 0.1, 5.0]}}}


def tuning(**options: Any) -> list[str]:
    """The command line that switches tuning on."""
    given = {
        "use_hyperparameter_sampling": True,
        "method": "random",
        "parameters": UNIFORM,
        "primary_metric_name": "mse",
        "primary_metric_goal": "min",
        "max_total_runs": 4,
        "max_concurrent_runs": 2,
        **options,
    }
    return ["--set", f"{TUNING}={json.dumps(given)}"]


def test_the_best_child_of_a_random_tuning_climbs_to_production(checkout: Checkout) -> None:
    run = checkout.run(*tuning(policy={"name": "medianstopping"}))

    assert run.exit_status == 0, run.terminal
    report = run.report
    assert report["outcome"] == "Promoted"
    tuned = report["tuning"]
    assert (tuned["method"], tuned["policy"], tuned["metric"], tuned["goal"]) == (
        "random",
        "medianstopping",
        "mse",
        "min",
    )
    trials = tuned["trials"]
    assert [trial["number"] for trial in trials] == [0, 1, 2, 3]
    best = min((trial for trial in trials if trial["state"] == "Completed"), key=lambda trial: trial["metric"])
    assert tuned["best"] == best["number"]
    assert report["run"]["id"] == best["run_id"]
    assert report["run"]["metrics"]["mse"] == pytest.approx(best["metric"])
    assert report["run"]["metrics"]["alpha"] == pytest.approx(best["hyperparameters"]["--alpha"])
    assert report["comparison"]["candidate"]["hyperparameters"] == best["hyperparameters"]
    assert re.search(r"4 of 4 done.*, best mse \d", run.terminal)
    assert f"| {best['number']}, best |" in run.markdown
    assert "](tuning.png)" in run.markdown
    assert (checkout.directory / "reports" / "latest" / "tuning.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("method", "parameters"), [("grid", CHOICE), ("bayesian", UNIFORM)])
def test_each_other_method_brings_a_candidate_to_the_gate(
    checkout: Checkout, method: str, parameters: dict[str, Any]
) -> None:
    run = checkout.run(*tuning(method=method, parameters=parameters), "--stop-before", "registration")
    assert run.exit_status == 0, run.terminal
    assert run.report["outcome"] in ("Compared", "NotPromoted")
    assert run.report["tuning"]["method"] == method
    assert len(run.report["tuning"]["trials"]) == (3 if method == "grid" else 4)


def test_a_primary_metric_that_is_not_logged_ends_the_tuning_with_what_was_logged(checkout: Checkout) -> None:
    run = checkout.run(*tuning(primary_metric_name="rmse", max_concurrent_runs=1))
    assert run.exit_status == 1
    message = run.report["error"]["message"]
    logged = "alpha, mse, mse[sex=1], mse[sex=2]"
    assert f"without having logged the primary metric 'rmse'; it has logged: {logged}." in message
    assert "experiment.hyperparameter_sampling.primary_metric_name" in run.report["error"]["next_step"]


def test_a_tuning_whose_children_fail_brings_the_log_of_one(checkout: Checkout) -> None:
    parameters = {"--alpha": {"distribution": "choice", "parameters": {"options": [-1, -2]}}}
    run = checkout.run(*tuning(method="grid", parameters=parameters))
    assert run.exit_status == 1
    assert "ended as Failed: All 2 children have failed" in run.report["error"]["message"]
    assert "the regularisation strength is zero or greater" in run.report["error"]["log_tail"]
