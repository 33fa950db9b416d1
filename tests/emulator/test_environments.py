"""Environments: registered, and built when a run needs them, through the SDK."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import RunningEmulator

if TYPE_CHECKING:
    from azureml.core import Environment, Run, Workspace

pytestmark = pytest.mark.emulator

_BUILD_LOG = "azureml-logs/20_image_build_log.txt"
_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


def _environment(name: str, *dependencies: str, pip: tuple[str, ...] = (), python: str = _PYTHON) -> Environment:
    from azureml.core import Environment
    from azureml.core.conda_dependencies import CondaDependencies

    environment = Environment(name)
    environment.python.conda_dependencies = CondaDependencies.create(
        conda_packages=list(dependencies), pip_packages=list(pip), python_version=python
    )
    return environment


@pytest.fixture
def submit(workspace: Workspace, tmp_path: Path) -> Callable[[Environment, str], Run]:
    from azureml.core import Experiment, ScriptRunConfig
    from azureml.core.compute import AmlCompute, ComputeTarget

    configuration = AmlCompute.provisioning_configuration(vm_size="STANDARD_D2_V2", max_nodes=2)
    ComputeTarget.create(workspace, "builders", configuration)

    def submit(environment: Environment, text: str) -> Run:
        source = tmp_path / "source"
        source.mkdir(exist_ok=True)
        (source / "script.py").write_text(text)
        submission = ScriptRunConfig(str(source), "script.py", compute_target="builders", environment=environment)
        return Experiment(workspace, "environments").submit(submission)

    return submit


def _outcome(run: Run) -> tuple[str, str]:
    """Status, and the message of the error."""
    while run.get_status() not in ("Completed", "Failed", "Canceled"):
        time.sleep(0.2)
    error = run.get_details().get("error") or {"error": {"message": ""}}
    return run.get_status(), error["error"]["message"]


def _log(run: Run, name: str) -> str:
    return str(run.get_details_with_logs()["logFiles"][name])


def test_a_version_is_new_only_when_the_content_is(workspace: Workspace) -> None:
    from azureml.core import Environment

    first = _environment("versioned", pip=("toolz",)).register(workspace)
    same = _environment("versioned", pip=("toolz",)).register(workspace)
    other = _environment("versioned", pip=("toolz", "packaging")).register(workspace)
    assert (first.version, same.version, other.version) == ("1", "1", "2")
    assert Environment.get(workspace, "versioned").version == "2"
    assert list(Environment.get(workspace, "versioned", version="1").python.conda_dependencies.pip_packages) == [
        "toolz"
    ]
    assert Environment.get(workspace, "versioned").register(workspace).version == "2"
    assert Environment.list(workspace)["versioned"].version == "2"


def test_a_registered_version_cannot_be_changed(workspace: Workspace) -> None:
    from azureml.core import Environment

    _environment("fixed", pip=("toolz",)).register(workspace)
    changed = Environment.get(workspace, "fixed")
    changed.python.conda_dependencies.add_pip_package("packaging")
    with pytest.raises(Exception, match=r"set environment\.version = None to register a new version"):
        changed.register(workspace)


def test_an_environment_that_is_not_there_is_answered_with_those_that_are(workspace: Workspace) -> None:
    from azureml.core import Environment

    _environment("there", pip=("toolz",)).register(workspace)
    with pytest.raises(Exception, match=r"'AzureML-Minimal' was not found .*registered: .*there"):
        Environment.get(workspace, "AzureML-Minimal")
    with pytest.raises(Exception, match=r"Version 7 of environment 'there' was not found .*which has: 1"):
        Environment.get(workspace, "there", version="7")


def test_conda_and_pip_sections_are_installed_and_the_build_is_kept_and_shared(
    submit: Callable[[Environment, str], Run], emulator: RunningEmulator
) -> None:
    text = (
        "import sys; from importlib.metadata import version\nprint(version('toolz'), version('packaging'), sys.prefix)"
    )
    environments = [_environment(name, "toolz=0.12", pip=("packaging==24.0",)) for name in ("one-name", "another")]
    runs = [submit(environment, text) for environment in environments]
    assert [_outcome(run) for run in runs] == [("Completed", "")] * 2
    printed = {_log(run, "user_logs/std_log.txt") for run in runs}
    assert len(printed) == 1
    toolz, packaging, prefix = printed.pop().split()
    assert toolz.startswith("0.12.")
    assert packaging == "24.0"
    assert Path(prefix).parent == emulator.state_directory / "environments"
    assert "+ packaging==24.0" in _log(runs[0], _BUILD_LOG)
    assert runs[0].get_environment().name == "one-name"
    assert runs[0].get_environment().version == "1"

    later = submit(environments[0], text)
    assert _outcome(later) == ("Completed", "")
    assert _BUILD_LOG not in later.get_file_names()


def test_an_interrupted_build_is_made_anew(
    submit: Callable[[Environment, str], Run], emulator: RunningEmulator
) -> None:
    environment = _environment("interrupted", pip=("toolz==0.11.2",))
    text = "import sys, toolz; print(sys.prefix)"
    first = submit(environment, text)
    assert _outcome(first) == ("Completed", "")
    prefix = Path(_log(first, "user_logs/std_log.txt").strip())
    (prefix / "built.json").unlink()
    (prefix / "bin" / "python").unlink()
    assert _outcome(submit(environment, text)) == ("Completed", "")


def test_a_package_that_cannot_be_installed_fails_the_run_with_the_build_log(
    submit: Callable[[Environment, str], Run],
) -> None:
    run = submit(_environment("impossible", pip=("toolz==999.0",)), "print('never')")
    status, message = _outcome(run)
    assert status == "Failed"
    assert message.startswith("Environment 'impossible' cannot be built: `uv pip install` ended with exit code 1.")
    assert "toolz==999.0" in message
    assert "toolz==999.0" in _log(run, _BUILD_LOG)


def test_a_python_that_this_machine_does_not_have_is_named_with_those_that_it_has(
    submit: Callable[[Environment, str], Run],
) -> None:
    status, message = _outcome(submit(_environment("ancient", python="3.4"), "print('never')"))
    assert status == "Failed"
    assert "asks for Python 3.4, which this machine does not have. It has: " in message
    assert _PYTHON in message.partition("It has: ")[2]


def test_a_specification_that_pip_has_no_words_for_is_refused(submit: Callable[[Environment, str], Run]) -> None:
    status, message = _outcome(submit(_environment("choice", "toolz=0.11|0.12"), "print('never')"))
    assert status == "Failed"
    assert "'toolz=0.11|0.12' has alternatives ('|'): name one version or a range" in message


def test_a_dockerfile_is_refused(submit: Callable[[Environment, str], Run]) -> None:
    environment = _environment("container", pip=("toolz",))
    environment.docker.base_image = None
    environment.docker.base_dockerfile = "FROM scratch"
    status, message = _outcome(submit(environment, "print('never')"))
    assert status == "Failed"
    assert "has a Dockerfile of its own" in message


def test_a_user_managed_interpreter_that_is_missing_is_named(submit: Callable[[Environment, str], Run]) -> None:
    from azureml.core import Environment

    environment = Environment("managed")
    environment.python.user_managed_dependencies = True
    environment.python.interpreter_path = "/nowhere/python"
    status, message = _outcome(submit(environment, "print('never')"))
    assert status == "Failed"
    assert "'/nowhere/python', which is not on this machine" in message


def test_the_password_of_a_registry_is_neither_kept_nor_logged_nor_returned(
    workspace: Workspace, submit: Callable[[Environment, str], Run], here: Environment, emulator: RunningEmulator
) -> None:
    from azureml.core import Environment as Registered

    secret = "hunter2-of-the-registry"
    environment = here.clone("from-a-registry")
    environment.docker.base_image = "team/train:3"
    environment.docker.base_image_registry.address = "registry.example.com"
    environment.docker.base_image_registry.username = "ada"
    environment.docker.base_image_registry.password = secret
    registered = environment.register(workspace)
    again = environment.register(workspace)
    run = submit(environment, "print('ran')")
    assert _outcome(run)[0] == "Completed"
    assert registered.version == again.version == Registered.get(workspace, "from-a-registry").version
    assert Registered.get(workspace, "from-a-registry").docker.base_image_registry.username == "ada"
    assert secret not in json.dumps(run.get_details(), default=str)
    for file in emulator.state_directory.glob("state.db*"):
        assert secret.encode() not in file.read_bytes()
    assert secret not in (emulator.state_directory / "emulator.log").read_text()
