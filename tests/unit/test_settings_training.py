"""The rules between the options of training, and the files that they name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from settings import SettingsError, load
from settings.files import file_problems

pytestmark = pytest.mark.unit

LEGACY = Path(__file__).parent / "settings_files" / "legacy.json"
DISTRIBUTED = "experiment.distributed_training"
PACKAGES = "experiment.dependencies"
REMOTE = "compute_target.training.remotecompute"
WITHOUT_PACKAGES = f"{PACKAGES}=null"


def broken(*overrides: str) -> dict[str, str]:
    with pytest.raises(SettingsError) as caught:
        load(LEGACY, overrides, {})
    return {problem.path: problem.rule for problem in caught.value.problems}


@pytest.mark.parametrize(
    ("overrides", "path", "rule"),
    [
        ([f"{DISTRIBUTED}.node_count=2"], f"{DISTRIBUTED}.node_count", "must be 1 without a backend_config"),
        (
            [f"{DISTRIBUTED}.backend_config=mpi", f"{DISTRIBUTED}.node_count=5"],
            f"{DISTRIBUTED}.node_count",
            "must be at most 4 (compute_target.training.amlcompute.max_nodes)",
        ),
        (
            [
                f"{DISTRIBUTED}.backend_config=mpi",
                f"{DISTRIBUTED}.node_count=2",
                "compute_target.compute_target_to_use_for_training=dsvm",
            ],
            f"{DISTRIBUTED}.node_count",
            "must be at most 1 (dsvm, which is one machine)",
        ),
        (
            [f"{DISTRIBUTED}.backend_config=parameter_server", f"{DISTRIBUTED}.parameter_server.worker_count=null"],
            f"{DISTRIBUTED}.parameter_server.worker_count",
            "is required when backend_config is parameter_server",
        ),
        (
            [f"{DISTRIBUTED}.backend_config=parameter_server", f"{DISTRIBUTED}.node_count=2"],
            f"{DISTRIBUTED}.node_count",
            "must be at most parameter_server.worker_count (1): each node has a worker",
        ),
        (
            [f"{PACKAGES}.conda_dependencies_file=conda.yml", f"{PACKAGES}.conda_packages=[]"],
            f"{PACKAGES}.pip_packages",
            "must be empty with conda_dependencies_file: list it there",
        ),
        (
            ["experiment.user_managed=true", f"{PACKAGES}.conda_packages=[]"],
            f"{PACKAGES}.pip_packages",
            "must be empty with user_managed: nothing is installed",
        ),
        (
            ["experiment.use_custom_environment=true", f"{PACKAGES}.pip_packages=[]"],
            f"{PACKAGES}.conda_packages",
            "must be empty with use_custom_environment: nothing is installed",
        ),
        (["experiment.interpreter_path=python3"], "experiment.interpreter_path", "needs user_managed"),
        (["experiment.environment_version=2"], "experiment.environment_version", "must be text"),
        (
            ['experiment.data_references={"epochs": {"dataStoreName": "a"}}'],
            "experiment.data_references.epochs",
            "has the name of the argument --epochs",
        ),
        (
            ['experiment.data_references={"a": {"local_path": "b", "dataset": {"name": "c"}}}'],
            "experiment.data_references.a.local_path",
            "must be left out with dataset",
        ),
        (
            ['experiment.data_references={"a": {"local_path": "b", "mode": "upload"}}'],
            "experiment.data_references.a.mode",
            "must be mount or download with local_path",
        ),
        (
            [
                "compute_target.compute_target_to_use_for_training=remotecompute",
                f"{REMOTE}.address=vm.contoso.com",
                f"{REMOTE}.username=vm.contoso.com",
                f"{REMOTE}.password=hunter2",
            ],
            f"{REMOTE}.username",
            "must be the user who logs in, not the address",
        ),
    ],
)
def test_a_broken_rule_is_said_at_its_option(overrides: list[str], path: str, rule: str) -> None:
    assert broken(*overrides) == {path: rule}


@pytest.mark.parametrize(
    "binding", [None, "download", {"mode": "mount", "path_on_compute": "former"}], ids=["null", "text", "object"]
)
def test_how_a_state_reaches_the_compute_is_a_mode_or_more(binding: object) -> None:
    option = f"experiment.resume_state.datapath_compute_binding={json.dumps(binding)}"

    found = load(LEGACY, (option,), {}).experiment.resume_state.binding

    assert (found.mode, found.path_on_compute) == (
        ("mount", None) if binding is None else ("download", None) if binding == "download" else ("mount", "former")
    )


def test_every_file_that_is_not_there_is_named_at_once(tmp_path: Path) -> None:
    source = tmp_path / "code" / "training"
    source.mkdir(parents=True)
    (source / "conda.yml").write_text("dependencies: [")
    settings = load(
        LEGACY,
        (
            "experiment.entry_script=trian.py",
            "experiment.dependencies=null",
            f"{PACKAGES}.conda_dependencies_file=conda.yml",
            'experiment.data_references={"cars": {"local_path": "cars.csv"}}',
            "compute_target.compute_target_to_use_for_training=remotecompute",
            f'{REMOTE}={{"use_ssh_auth": true, "address": "a.b", "username": "c", "private_key_file": "key"}}',
        ),
        {},
    )

    assert {problem.path: problem.rule.partition(":")[0] for problem in file_problems(settings, tmp_path)} == {
        "experiment.entry_script": "there is no such file",
        f"{PACKAGES}.conda_dependencies_file": "is not YAML",
        "experiment.data_references.cars.local_path": "there is no such file",
        f"{REMOTE}.private_key_file": "there is no such file",
    }


def test_without_the_source_directory_nothing_in_it_is_missed(tmp_path: Path) -> None:
    problems = list(file_problems(load(LEGACY, (), {}), tmp_path))

    assert [(problem.path, problem.rule) for problem in problems] == [
        ("experiment.source_directory", "there is no such directory")
    ]
