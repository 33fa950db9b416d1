"""The rules between options: tuning, compute, services."""

import json
from pathlib import Path

import pytest

from settings import SettingsError, load
from settings.experiment import Distribution

pytestmark = pytest.mark.unit

LEGACY = Path(__file__).parent / "settings_files" / "legacy.json"
TUNING = "experiment.hyperparameter_sampling"
PROD = "deployment.prod_deployment"
PARAMETERS = {
    "choice": {"options": [1, 2.5, "three"]},
    "randint": {"upper": 10},
    "uniform": {"min_value": 0, "max_value": 1},
    "loguniform": {"min_value": -3, "max_value": -1},
    "quniform": {"min_value": 0, "max_value": 10, "q": 2},
    "qloguniform": {"min_value": 0, "max_value": 3, "q": 1},
    "normal": {"mu": 0, "sigma": 1},
    "lognormal": {"mu": 0, "sigma": 1},
    "qnormal": {"mu": 0, "sigma": 1, "q": 1},
    "qlognormal": {"mu": 0, "sigma": 1, "q": 1},
}


def rules_broken_by(*overrides: str) -> dict[str, str]:
    with pytest.raises(SettingsError) as caught:
        load(LEGACY, overrides, {})
    return {problem.path: problem.rule for problem in caught.value.problems}


def tuned(distribution: str, parameters: dict[str, object]) -> str:
    return f"{TUNING}.parameters=" + json.dumps({"--x": {"distribution": distribution, "parameters": parameters}})


def loaded_distribution(distribution: str) -> Distribution:
    loaded = load(LEGACY, [tuned(distribution, PARAMETERS[distribution])], {})
    found = loaded.experiment.hyperparameter_sampling.parameters["--x"]
    assert found is not None
    return found


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_distribution_is_chosen_by_its_exact_name(name: str) -> None:
    distribution = loaded_distribution(name)
    assert distribution.distribution == name
    assert type(distribution).__name__ == name.capitalize()
    assert set(type(distribution.parameters).model_fields) == set(PARAMETERS[name])


@pytest.mark.parametrize(("name", "parameter"), [(name, each) for name in PARAMETERS for each in PARAMETERS[name]])
def test_a_distribution_needs_all_of_its_parameters(name: str, parameter: str) -> None:
    others = {each: value for each, value in PARAMETERS[name].items() if each != parameter}
    assert rules_broken_by(tuned(name, others)) == {
        f"{TUNING}.parameters.--x.parameters.{parameter}": f"is required by the distribution {name}"
    }


@pytest.mark.parametrize("name", ["Uniform", "uniformly", "uni", "log", ""])
def test_a_name_that_only_resembles_a_distribution_is_a_mistake(name: str) -> None:
    assert list(rules_broken_by(tuned(name, {}))) == [f"{TUNING}.parameters.--x.distribution"]


def test_the_nearest_distribution_is_named() -> None:
    with pytest.raises(SettingsError) as caught:
        load(LEGACY, [tuned("qunifrom", {})], {})
    (problem,) = caught.value.problems
    assert problem.suggestion == "quniform"


def test_a_parameter_of_another_distribution_is_a_mistake() -> None:
    assert rules_broken_by(tuned("uniform", PARAMETERS["quniform"])) == {
        f"{TUNING}.parameters.--x.parameters.q": "is not an option here"
    }


def test_a_range_has_a_lower_and_an_upper_bound() -> None:
    assert rules_broken_by(tuned("uniform", {"min_value": 2, "max_value": 1})) == {
        f"{TUNING}.parameters.--x.parameters.min_value": "must be less than max_value (1)"
    }


def test_tuning_needs_a_method_a_metric_and_something_to_tune() -> None:
    nothing = ("method", "parameters", "primary_metric_name", "primary_metric_goal", "max_total_runs")
    assert set(rules_broken_by(*(f"{TUNING}.{name}=null" for name in nothing))) == {
        f"{TUNING}.{name}" for name in nothing
    }


@pytest.mark.parametrize(
    ("slack", "valid"),
    [
        ({"slack_factor": 0.1}, True),
        ({"slack_amount": 3}, True),
        ({}, False),
        ({"slack_factor": 0.1, "slack_amount": 3}, False),
    ],
)
def test_a_bandit_policy_has_exactly_one_kind_of_slack(slack: dict[str, float], valid: bool) -> None:
    override = f"{TUNING}.policy.bandit={json.dumps(slack)}"
    if valid:
        assert load(LEGACY, [override], {}).experiment.hyperparameter_sampling.policy.name == "bandit"
    else:
        rule = "must have exactly one of slack_factor and slack_amount"
        assert rules_broken_by(override) == {f"{TUNING}.policy.bandit": rule}


def test_the_rules_of_tuning_are_not_applied_when_nothing_is_tuned() -> None:
    loaded = load(LEGACY, [f"{TUNING}.use_hyperparameter_sampling=false", f"{TUNING}.policy.bandit={{}}"], {})
    assert not loaded.experiment.hyperparameter_sampling.use_hyperparameter_sampling


@pytest.mark.parametrize(
    ("overrides", "broken"),
    [
        ([f"{TUNING}.max_concurrent_runs=21"], {f"{TUNING}.max_concurrent_runs"}),
        (
            [f"{TUNING}.method=grid", tuned("uniform", PARAMETERS["uniform"])],
            {f"{TUNING}.parameters.--x.distribution"},
        ),
        ([f"{TUNING}.method=bayesian", tuned("uniform", PARAMETERS["uniform"])], {f"{TUNING}.policy.name"}),
        (
            [f"{TUNING}.method=bayesian", f"{TUNING}.policy.name=null", tuned("choice", PARAMETERS["choice"])],
            {f"{TUNING}.parameters.--x.parameters.options"},
        ),
        (
            [
                f"{TUNING}.method=bayesian",
                f"{TUNING}.policy.name=null",
                tuned("quniform", {"min_value": 0.5, "max_value": 9, "q": 2}),
            ],
            {f"{TUNING}.parameters.--x.parameters.min_value"},
        ),
        (
            [f"{TUNING}.policy.name=truncationselection", f"{TUNING}.policy.truncationselection={{}}"],
            {f"{TUNING}.policy.truncationselection.truncation_percentage"},
        ),
        (["compute_target.training.amlcompute.min_nodes=5"], {"compute_target.training.amlcompute.min_nodes"}),
        (
            ["compute_target.training.amlcompute.admin_user_password=x"],
            {"compute_target.training.amlcompute.admin_username"},
        ),
        (
            ["compute_target.compute_target_to_use_for_training=remotecompute"],
            {f"compute_target.training.remotecompute.{name}" for name in ("address", "username", "password")},
        ),
        (
            ["compute_target.deployment.aks_test.vnet_name=net"],
            {
                f"compute_target.deployment.aks_test.{name}"
                for name in (
                    "vnet_resourcegroup_name",
                    "subnet_name",
                    "service_cidr",
                    "dns_service_ip",
                    "docker_bridge_cidr",
                )
            },
        ),
        (["compute_target.deployment.aks_prod.name=churn-aks-test"], {"compute_target.deployment.aks_prod.name"}),
        (["compute_target.training.amlcompute.name=local"], {"compute_target.training.amlcompute.name"}),
        (["compute_target.deployment.aks_prod.name=a-name-of-17-char"], {"compute_target.deployment.aks_prod.name"}),
        ([f"{PROD}.autoscale_min_replicas=4"], {f"{PROD}.autoscale_min_replicas"}),
        ([f"{PROD}.num_replicas=2"], {f"{PROD}.num_replicas"}),
        (["deployment.test_deployment.num_replicas=null"], {"deployment.test_deployment.num_replicas"}),
        (
            ["deployment.test_deployment.autoscale_max_replicas=3"],
            {"deployment.test_deployment.autoscale_max_replicas"},
        ),
        ([f"{PROD}.token_auth_enabled=true"], {f"{PROD}.token_auth_enabled"}),
        ([f"{PROD}.name=churn-dev"], {f"{PROD}.name"}),
        (
            ["deployment.dev_deployment.ssl_enabled=true", "deployment.dev_deployment.ssl_cname=a.com"],
            {"deployment.dev_deployment.ssl_cert_pem_file", "deployment.dev_deployment.ssl_key_pem_file"},
        ),
        (
            ['deployment.model.evaluation_parameters.smaller_is_better=["mse", "auc"]'],
            {"deployment.model.evaluation_parameters.smaller_is_better[1]"},
        ),
    ],
)
def test_options_that_contradict_each_other_are_mistakes(overrides: list[str], broken: set[str]) -> None:
    assert set(rules_broken_by(*overrides)) == broken


@pytest.mark.parametrize("name", ["ab", "Diabetes", "1-diabetes", "diabetes-", "dia_betes", "d" * 33])
def test_a_service_name_keeps_azures_rules(name: str) -> None:
    assert list(rules_broken_by(f'{PROD}.name="{name}"')) == [f"{PROD}.name"]


@pytest.mark.parametrize("path", ["/code", "~/code", "C:/code", "\\code", ""])
def test_scripts_and_directories_are_relative_paths(path: str) -> None:
    options = ("experiment.source_directory", "experiment.entry_script", "deployment.image.entry_script")
    broken = rules_broken_by(*(f"{option}={json.dumps(path)}" for option in options))
    assert broken == dict.fromkeys(options, "must be a relative path")
