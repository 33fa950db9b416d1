"""The decisions of training that need no Azure: configurations, states, logs, errors."""

from __future__ import annotations

from pathlib import Path

import pytest

from settings.compute_target import AmlComputeSettings, ComputeTargetSettings, RemoteComputeSettings
from settings.deployment import ModelSettings
from settings.experiment import DistributedTrainingSettings, ExperimentSettings
from settings.files import conda_mistake
from settings.workspace import WorkspaceTarget
from tasks.compute import provider_errors
from tasks.environment import framework_requirement, lists, packages_to_change, training_environment
from tasks.operation import said_by_azure
from tasks.run_log import most_telling
from tasks.training import described, distribution, experiment_key, seconds_of
from tasks.training_compute import attach_configuration, provisioning_configuration, wanted_compute
from tasks.values import Origin, RegisteredEnvironment

pytestmark = pytest.mark.unit


def key(compute: str = "cpu-cluster", nodes: int = 1) -> str:
    """Of a training that needs nothing of its workspace."""
    target = WorkspaceTarget(
        cloud="emulator", name="none", subscription_id="s", resource_group="r", location="l", friendly_name=None
    )
    distributed = {"backend_config": "mpi", "node_count": nodes}
    experiment = ExperimentSettings.model_validate({"source_directory": "code", "distributed_training": distributed})
    model = ModelSettings.model_validate({"evaluation_parameters": {"smaller_is_better": ("mse",)}})
    environment, origin = RegisteredEnvironment(name="training", version="1"), Origin(flow_run_id="", fresh=False)
    return experiment_key("training", target, experiment, model, compute, environment, origin, None)


def test_a_training_on_another_compute_or_another_number_of_nodes_is_another_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "train.py").write_text("print(1)")
    monkeypatch.chdir(tmp_path)

    keys = [key(), key(compute="gpu-cluster"), key(nodes=2)]

    assert len(set(keys)) == 3
    assert key() == keys[0]


def test_mpi_becomes_the_sdks_configuration() -> None:
    wanted = {"backend_config": "mpi", "node_count": 3, "mpi": {"process_count_per_node": 2}}

    configuration = distribution(DistributedTrainingSettings.model_validate(wanted))

    assert type(configuration).__name__ == "MpiConfiguration"
    assert (configuration.process_count_per_node, configuration.node_count) == (2, 3)


@pytest.mark.parametrize("backend", ["gloo", "nccl"])
def test_torch_is_told_the_processes_of_all_nodes(backend: str) -> None:
    wanted = {"backend_config": backend, "node_count": 2, backend: {"process_count_per_node": 4}}

    configuration = distribution(DistributedTrainingSettings.model_validate(wanted))

    assert type(configuration).__name__ == "PyTorchConfiguration"
    assert (configuration.communication_backend, configuration.process_count) == (backend, 8)


def test_parameter_servers_are_counted_beside_the_workers() -> None:
    servers = {"worker_count": "3", "parameter_server_count": "2"}
    wanted = {"backend_config": "parameter_server", "node_count": 2, "parameter_server": servers}

    configuration = distribution(DistributedTrainingSettings.model_validate(wanted))

    assert (configuration.worker_count, configuration.parameter_server_count) == (3, 2)
    assert distribution(DistributedTrainingSettings()) is None


@pytest.mark.parametrize(
    ("status", "seconds", "text"),
    [
        ("Running", 59, "Running"),
        ("Running", 61, "Running for 1 min"),
        ("Queued", 119, "Queued for 1 min"),
        ("Queued", 180, "Queued for 3 min: nodes of the compute target start"),
        ("Preparing", 180, "Preparing for 3 min: the image of the environment is built"),
        ("Completed", 600, "Completed"),
    ],
)
def test_a_state_that_lasts_says_for_how_long_and_what_may_be_the_reason(
    status: str, seconds: float, text: str
) -> None:
    said = described(status, seconds)

    assert said == text if ":" not in text else said.startswith(text)


RANKS = [f"user_logs/std_log_process_0{rank}.txt" for rank in range(3)]
SERVER = "user_logs/std_log_process_00_ps.txt"
BUILD = "azureml-logs/20_image_build_log.txt"


@pytest.mark.parametrize(
    ("message", "first"),
    [
        ("AzureMLCompute job failed. Script 'train.py' of run 'a', rank 2, ended with exit code 1.", RANKS[2]),
        ("Script 'train.py' of run 'a', parameter server 0, ended with exit code 1.", SERVER),
        ("Script 'train.py' of run 'a', worker 1, ended with exit code 1.\nrank 2", RANKS[1]),
        ("Something else.", RANKS[0]),
    ],
)
def test_the_log_of_the_process_that_failed_comes_first_and_the_builds_last(message: str, first: str) -> None:
    ordered = most_telling([BUILD, SERVER, *RANKS], message)

    assert ordered[0] == first
    assert ordered[-1] == BUILD


@pytest.mark.parametrize(
    ("errors", "said"),
    [
        ([{"error": {"code": "Quota", "message": "No cores left."}}], "No cores left"),
        ([{"message": "a."}, {"error": {"message": "b"}}], "a; b"),
        ({"error": {"details": []}}, "{'details': []}"),
        (None, "no reason was given"),
    ],
)
def test_the_providers_errors_are_said_in_whatever_shape_they_come(errors: object, said: str) -> None:
    assert provider_errors(errors) == said


def test_of_a_whole_answer_only_what_azure_says_is_shown() -> None:
    answer = (
        "Received bad response from Resource Provider:\nResponse Code: 400\nHeaders: {'a': 'b'}\n"
        """Content: b'{"error": {"code": "BadRequest", "message": "Size it\\'s not known."}}'"""
    )

    assert said_by_azure(Exception(answer)) == "Size it's not known."
    assert said_by_azure(Exception("Content: b'no json'")) == "Content: b'no json'"


def test_how_long_a_run_went_on_is_read_from_its_details() -> None:
    details = {"startTimeUtc": "2026-11-24T10:00:00.5Z", "endTimeUtc": "2026-11-24T10:00:02.0000000Z"}

    assert seconds_of(details) == 1.5
    assert seconds_of({"startTimeUtc": None}) == 0.0


def experiment(framework: str, version: str | None, **options: object) -> ExperimentSettings:
    chosen = {"name": framework, framework: {"framework_version": version}}
    return ExperimentSettings.model_validate({"framework": chosen, **options})


@pytest.mark.parametrize(
    ("framework", "version", "requirement"),
    [
        ("sklearn", "1.7.2", "scikit-learn==1.7.2"),
        ("pytorch", None, "torch"),
        ("tensorflow", "2.16", "tensorflow==2.16"),
        ("chainer", "7.8", "chainer==7.8"),
        ("other", "3", ""),
    ],
)
def test_a_framework_is_a_requirement(framework: str, version: str | None, requirement: str) -> None:
    assert framework_requirement(experiment(framework, version)) == requirement


@pytest.mark.parametrize(
    ("packages", "there"),
    [
        (["Torch>=1"], True),
        (["pytorch=1.4"], True),
        (["conda-forge::pytorch"], True),
        (["torchvision"], False),
        (["--find-links somewhere"], False),
    ],
)
def test_a_framework_that_is_listed_is_not_added_again(packages: list[str], there: bool) -> None:
    assert lists(packages, "torch==1.4") is there


def test_packages_win_over_the_version_of_the_framework() -> None:
    listed = {"pip_packages": ("scikit-learn>=1.5",)}

    packages = training_environment(experiment("sklearn", "0.20.3", dependencies=listed)).python.conda_dependencies

    assert [each for each in packages.pip_packages if each.startswith("scikit")] == ["scikit-learn>=1.5"]


def test_what_to_change_is_the_option_whose_package_the_log_names() -> None:
    wanted = experiment("sklearn", "0.20.3")

    assert "experiment.framework.sklearn.framework_version" in packages_to_change(wanted, "building scikit-learn")
    assert "experiment.dependencies" in packages_to_change(wanted, "no such package: nunpy")


def test_the_registry_of_an_image_gets_its_login() -> None:
    registry = {"address": "contoso.azurecr.io", "username": "contoso", "password": "hunter2"}
    docker = {"custom_image": "contoso.azurecr.io/a:1", "custom_image_registry_details": registry}

    settings = experiment("other", None, docker=docker)
    environment = training_environment(settings)

    assert environment.docker.base_image_registry.password == "hunter2"
    assert "hunter2" not in repr(settings)


@pytest.mark.parametrize(
    ("content", "mistake"),
    [
        (b"dependencies:\n- python=3.11\n- pip:\n  - numpy\n", None),
        (b"dependencies: [a, {", "is not YAML: "),
        (b"- numpy", "is no conda file: it has no list of `dependencies`"),
        (b"dependencies: numpy", "is no conda file: it has no list of `dependencies`"),
        (b"dependencies:\n- 3\n", "is no conda file: 3 among its `dependencies`"),
        (b"dependencies:\n- pip: numpy\n", "is no conda file: {'pip': 'numpy'} among"),
        (b"\xff\xfe\x00", "is not YAML: "),
    ],
)
def test_a_conda_file_that_cannot_be_used_says_why(content: bytes, mistake: str | None) -> None:
    found = conda_mistake(content)

    assert found is None if mistake is None else str(found).startswith(mistake)


def test_a_key_is_used_instead_of_a_password_and_never_the_address_as_user() -> None:
    machine = {"address": "vm.contoso.com", "username": "ada", "password": "hunter2", "private_key_file": "~/key"}

    by_password = attach_configuration(RemoteComputeSettings.model_validate(machine))
    by_key = attach_configuration(RemoteComputeSettings.model_validate({**machine, "use_ssh_auth": True}))

    assert (by_password.username, by_password.password, by_password.private_key_file) == ("ada", "hunter2", "")
    assert (by_key.username, by_key.password) == ("ada", "")
    assert by_key.private_key_file.endswith("/key")
    assert not by_key.private_key_file.startswith("~")


@pytest.mark.parametrize("kind", ["amlcompute", "dsvm", "remotecompute"])
def test_the_section_of_the_chosen_kind_is_used(kind: str) -> None:
    training = {"remotecompute": {"address": "a.b", "username": "ada", "password": "hunter2"}}
    settings = {"compute_target_to_use_for_training": kind, "training": training}

    wanted = wanted_compute(ComputeTargetSettings.model_validate(settings))

    assert type(wanted).__name__.lower().removesuffix("settings") == kind


def test_an_account_of_a_cluster_reaches_azure() -> None:
    account = {"admin_username": "ada", "admin_user_password": "Hunter2!"}

    configuration = provisioning_configuration(AmlComputeSettings.model_validate(account))

    assert (configuration.admin_username, configuration.admin_user_password) == ("ada", "Hunter2!")
