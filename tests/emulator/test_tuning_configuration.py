"""The settings of a tuning as the SDK's own objects: each distribution, policy, method and budget."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tasks.tuning import tuning_configuration
from tests.unit.test_tuning import sampling

if TYPE_CHECKING:
    from azureml.core import Workspace
    from azureml.train.hyperdrive import HyperDriveConfig

    from settings.experiment import HyperparameterSamplingSettings

pytestmark = pytest.mark.emulator

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


@pytest.fixture(autouse=True)
def _an_sdk_that_knows_its_cloud(workspace: Workspace) -> None:
    """The SDK reads where the cloud is when it is first imported: by this."""


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
