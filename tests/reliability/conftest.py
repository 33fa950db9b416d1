"""The checkout and the servers of tests/flow, and the SDK in the test's own process to look at what runs leave."""

from __future__ import annotations

import os
import uuid
from typing import TYPE_CHECKING

import pytest

from tests.conftest import RunningEmulator
from tests.flow.conftest import Checkout, checkout, prefect_server  # noqa: F401 - fixtures
from tests.reliability.interrupted import Moment

if TYPE_CHECKING:
    from azureml.core import Workspace


@pytest.fixture(scope="session")
def sdk(client_environment: dict[str, str]) -> None:
    """The SDK, pointed at the session's emulator."""
    os.environ.update(client_environment)


@pytest.fixture(scope="module")
def moment(checkout: Checkout) -> Moment:  # noqa: F811 - a fixture
    return Moment(checkout)


@pytest.fixture(scope="module")
def workspace(sdk: None, moment: Moment, emulator: RunningEmulator) -> Workspace:
    """The workspace of the module's checkout, in which a first model serves production already."""
    first = moment.checkout.run(*moment.arguments, "--set", "experiment.script_parameters.--alpha=0.5")
    assert first.report["outcome"] == "Promoted", first.terminal
    from azureml.core import Workspace

    return Workspace.get(
        moment.checkout.environment["WORKSPACE_NAME"],
        subscription_id=os.environ["SUBSCRIPTION_ID"],
        resource_group=os.environ["RESOURCE_GROUP"],
    )


def new_workspace_name() -> str:
    return f"ws-{uuid.uuid4().hex[:8]}"
