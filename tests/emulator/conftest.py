"""The unmodified SDK in this process, pointed at the session's emulator before it is first imported; and plain HTTPS,
for what the SDK never sends."""

from __future__ import annotations

import os
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests

from tests.conftest import RunningEmulator, emulator_command

if TYPE_CHECKING:
    from azureml.core import Environment, Experiment, Run, Workspace


@pytest.fixture(scope="session")
def workspace(client_environment: dict[str, str]) -> Workspace:
    """The emulator's default workspace, got by the SDK without an auth argument."""
    assert "azureml.core" not in sys.modules, "the SDK reads where the cloud is when it is first imported"
    os.environ.update(client_environment)
    from azureml.core import Workspace

    return Workspace.get(
        os.environ["WORKSPACE_NAME"],
        subscription_id=os.environ["SUBSCRIPTION_ID"],
        resource_group=os.environ["RESOURCE_GROUP"],
    )


@dataclass(frozen=True)
class Client:
    """A client that trusts the emulator and is logged in to it."""

    url: str
    session: requests.Session

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        """``path`` below the emulator's address, or an address of its own."""
        address = path if path.startswith("https://") else self.url + path
        return self.session.request(method, address, timeout=30, **options)


def log_in(emulator: RunningEmulator) -> Client:
    """A client of an emulator, with a token from its identity service."""
    session = requests.Session()
    session.trust_env = False
    session.verify = emulator.environment["REQUESTS_CA_BUNDLE"]
    form = {
        "grant_type": "client_credentials",
        "client_id": emulator.environment["AZURE_CLIENT_ID"],
        "client_secret": emulator.environment["AZURE_CLIENT_SECRET"],
    }
    token = session.post(f"{emulator.url}/adfs/oauth2/token", form, timeout=30).json()["access_token"]
    session.headers["Authorization"] = f"Bearer {token}"
    return Client(emulator.url, session)


@pytest.fixture(scope="session")
def client(emulator: RunningEmulator) -> Iterator[Client]:
    made = log_in(emulator)
    yield made
    made.session.close()


@pytest.fixture
def own_state(tmp_path: Path) -> Iterator[Path]:
    """A state directory for one test, with nothing running over it in the end."""
    directory = tmp_path / "state"
    yield directory
    emulator_command("stop", "--state-dir", str(directory))


@pytest.fixture(scope="module")
def here(workspace: Workspace) -> Environment:
    """The environment of these tests themselves: nothing has to be built."""
    from azureml.core import Environment

    environment = Environment("here")
    environment.python.user_managed_dependencies = True
    environment.python.interpreter_path = sys.executable
    return environment


@pytest.fixture(scope="module")
def cluster(workspace: Workspace) -> str:
    from azureml.core.compute import AmlCompute, ComputeTarget

    configuration = AmlCompute.provisioning_configuration(vm_size="STANDARD_D2_V2", max_nodes=1)
    return str(ComputeTarget.create(workspace, "one-node", configuration).name)


@pytest.fixture
def experiment(workspace: Workspace, request: pytest.FixtureRequest) -> Experiment:
    from azureml.core import Experiment

    return Experiment(workspace, re.sub(r"\W+", "_", request.node.name)[:60].rstrip("_"))


@pytest.fixture
def submit(experiment: Experiment, here: Environment, cluster: str, tmp_path: Path) -> Callable[..., Run]:
    """Submit the text of a script, or what else a ScriptRunConfig takes; ``change`` may alter that before."""
    from azureml.core import ScriptRunConfig

    source = tmp_path / "source"
    source.mkdir()

    def submit(text: str | None = None, change: Callable[[ScriptRunConfig], None] | None = None, **options: Any) -> Run:
        if text is not None:
            (source / "train.py").write_text(textwrap.dedent(text))
            options["script"] = "train.py"
        options = {"compute_target": cluster, "environment": here, **options}
        configuration = ScriptRunConfig(str(source), **options)
        if change is not None:
            change(configuration)
        return experiment.submit(configuration)

    return submit
