"""The unmodified SDK in this process, pointed at the session's emulator before it is first imported."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from azureml.core import Workspace


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
