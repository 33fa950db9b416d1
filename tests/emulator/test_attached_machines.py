"""Machines that are attached by SSH: a real sshd on loopback, and runs that go there."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.emulator.conftest import Client
from tests.emulator.submitting import log_of, until
from tests.ssh_machine import PASSPHRASE, PASSWORD, Machine, password_server, sshd

if TYPE_CHECKING:
    from azureml.core import Environment, Run, Workspace
    from azureml.core.compute import RemoteCompute

pytestmark = pytest.mark.emulator


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with sshd(tmp_path_factory.mktemp("sshd")) as machine:
        yield machine


@pytest.fixture(scope="module")
def password_port() -> Iterator[int]:
    with password_server() as port:
        yield port


def _attach(workspace: Workspace, name: str, **account: object) -> RemoteCompute:
    from azureml.core.compute import ComputeTarget, RemoteCompute

    configuration = RemoteCompute.attach_configuration(address="127.0.0.1", **account)
    return ComputeTarget.attach(workspace, name, configuration)


@pytest.fixture(scope="module")
def attached(workspace: Workspace, machine: Machine) -> Iterator[str]:
    target = _attach(
        workspace,
        "attached",
        ssh_port=machine.port,
        username=machine.user,
        private_key_file=str(machine.key),
        private_key_passphrase=PASSPHRASE,
    )
    target.wait_for_completion()
    assert target.provisioning_state == "Succeeded"
    yield target.name
    target.detach()


def test_a_run_goes_to_the_machine_and_brings_back_what_it_made(
    submit: Callable[..., Run], attached: str, machine: Machine
) -> None:
    run = submit(
        """
        import os, pathlib
        from azureml.core import Run
        run = Run.get_context(allow_offline=False)
        print("over ssh", os.environ["SSH_CONNECTION"].split()[0])
        print("in", pathlib.Path.cwd())
        pathlib.Path("outputs/deep").mkdir(parents=True)
        pathlib.Path("outputs/deep/model.txt").write_text("weights")
        run.log("loss", 0.5)
        """,
        compute_target=attached,
    )
    assert until(run) == "Completed", run.get_details().get("error")
    assert "over ssh 127.0.0.1" in log_of(run)
    assert f"in {machine.home}/" in log_of(run)
    assert "outputs/deep/model.txt" in run.get_file_names()
    assert run.get_metrics() == {"loss": 0.5}
    assert list((machine.home / ".azureml-emulator" / "runs").iterdir()) == []


def test_an_environment_is_made_on_the_machine(submit: Callable[..., Run], attached: str, machine: Machine) -> None:
    from azureml.core import Environment
    from azureml.core.conda_dependencies import CondaDependencies

    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    environment = Environment("there")
    environment.python.conda_dependencies = CondaDependencies.create(python_version=version, pip_packages=["six"])
    environment.python.conda_dependencies.remove_pip_package("azureml-defaults")
    run = submit("import six, sys; print(sys.prefix, six.__name__)", compute_target=attached, environment=environment)
    assert until(run) == "Completed", run.get_details().get("error")
    assert log_of(run).startswith(f"{machine.home}/.azureml-emulator/environments/")


def test_a_script_that_fails_there_fails_the_run_with_its_log(submit: Callable[..., Run], attached: str) -> None:
    run = submit("raise ValueError('no data there')", compute_target=attached)
    assert until(run) == "Failed"
    message = run.get_details()["error"]["error"]["message"]
    assert "ended with exit code 1" in message
    assert "ValueError: no data there" in message


def test_a_canceled_run_ends_on_the_machine(submit: Callable[..., Run], attached: str, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    run = submit(
        f"""
        import pathlib, subprocess, time
        pathlib.Path({str(pid_file)!r}).write_text(str(subprocess.Popen(["sleep", "600"]).pid))
        time.sleep(600)
        """,
        compute_target=attached,
    )
    while not pid_file.exists() or not pid_file.read_text():
        assert run.get_status() not in ("Failed", "Completed"), run.get_details()["error"]
        time.sleep(0.1)
    run.cancel()
    assert until(run) == "Canceled"
    pid = int(pid_file.read_text())
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_a_machine_takes_a_password_and_is_detached_with_it(
    workspace: Workspace, password_port: int, client: Client
) -> None:
    target = _attach(workspace, "by-password", ssh_port=password_port, username="ada", password=PASSWORD)
    target.wait_for_completion()
    assert (target.provisioning_state, target.address, target.ssh_port) == ("Succeeded", "127.0.0.1", password_port)
    assert target.get_credentials()["administratorAccount"]["password"] == PASSWORD
    path = f"{workspace.get_details()['id']}/computes"
    assert PASSWORD not in client.call("GET", path).text + client.call("GET", f"{path}/by-password").text
    target.detach()
    assert "by-password" not in workspace.compute_targets


@pytest.mark.parametrize(
    ("account", "message"),
    [
        ({"username": "ada", "password": "wrong"}, "it does not take this password"),
        ({"username": "nobody-here", "key": PASSPHRASE}, "it does not take this private key"),
        ({"username": "ada", "key": "wrong"}, "The private key for ada@127.0.0.1"),
        ({"username": "ada", "password": "any", "ssh_port": 1}, "cannot be reached by SSH"),
    ],
)
def test_an_account_that_cannot_log_in_fails_the_attachment_with_the_reason(
    workspace: Workspace, machine: Machine, account: dict[str, object], message: str
) -> None:
    from azureml.exceptions import ComputeTargetException

    options = {"ssh_port": machine.port, **account}
    if (passphrase := options.pop("key", None)) is not None:
        options |= {"private_key_file": str(machine.key), "private_key_passphrase": passphrase}
    target = _attach(workspace, "refused", **options)
    try:
        with pytest.raises(ComputeTargetException, match=message):
            target.wait_for_completion()
        assert target.provisioning_state == "Failed"
        assert message in target.provisioning_errors[0]["error"]["message"]
    finally:
        target.detach()


def test_a_dsvm_is_a_machine_of_its_own(workspace: Workspace, submit: Callable[..., Run], here: Environment) -> None:
    from azureml.core.compute import ComputeTarget, DsvmCompute
    from azureml.core.runconfig import MpiConfiguration
    from azureml.exceptions import ExperimentExecutionException

    wanted = DsvmCompute.provisioning_configuration(vm_size="STANDARD_DS3_V2", ssh_port=22)
    target = ComputeTarget.create(workspace, "dsvm", wanted)
    target.wait_for_completion()
    assert (target.provisioning_state, target.vm_size) == ("Succeeded", "STANDARD_DS3_V2")
    assert isinstance(ComputeTarget(workspace, "dsvm"), DsvmCompute)
    run = submit("print('on the dsvm')", compute_target="dsvm")
    assert until(run) == "Completed"
    with pytest.raises(ExperimentExecutionException, match="takes 2 nodes, and compute target 'dsvm' has at most 1"):
        submit("pass", compute_target="dsvm", distributed_job_config=MpiConfiguration(1, 2))
    target.delete()
    assert "dsvm" not in workspace.compute_targets
