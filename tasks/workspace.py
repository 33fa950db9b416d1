"""The workspace: log in once for Azure and emulator, get it, or create it.

Azure: https://learn.microsoft.com/azure/machine-learning/concept-workspace; SDK: ``azureml.core.Workspace``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from settings.workspace import WorkspaceTarget
from tasks.errors import ConnectionToAzureError, WorkspaceError, http_status
from tasks.operation import azure_operation, explained
from tasks.progress import report
from tasks.values import ReadyWorkspace

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential
    from azureml.core import Workspace
    from azureml.core.authentication import TokenAuthentication

_EMULATOR_SECONDS = 90


def connect(target: WorkspaceTarget) -> None:
    """Point this process at the cloud of ``target``, before the SDK is imported (it reads where the cloud is then).

    For the emulator, the one of this repository is started if need be and asked for its environment, as any user
    would; an environment that reaches an emulator already (``eval "$(python -m emulator env)"``) is left as it is.

    Raises:
        ConnectionToAzureError: the emulator does not start.
    """
    os.environ.setdefault("AZUREML_LOG_DEPRECATION_WARNING_ENABLED", "False")
    # Data of high business impact: the SDK and its dataset runtime then send no telemetry, which without a way to
    # Application Insights holds up the end of the process for three seconds.
    os.environ.setdefault("HBI_WORKSPACE_JOB", "true")
    if target.cloud != "emulator":
        return
    if not os.environ.get("AZUREML_EMULATOR_URL"):
        os.environ.update(json.loads(_emulator_environment()))
    # The SDK opens a connection for every call, and reading all that this machine trusts takes 24 ms each time: here
    # `requests` talks to the emulator only.
    os.environ["REQUESTS_CA_BUNDLE"] = os.environ["AZUREML_EMULATOR_CA"]


@contextmanager
def trusting_this_machine() -> Iterator[None]:
    """For requests to others than Azure ML: believe whom this machine believes, whatever :func:`connect` has set."""
    ours = os.environ.get("AZUREML_EMULATOR_CA")
    if ours is None or os.environ.get("REQUESTS_CA_BUNDLE") != ours:
        yield
        return
    os.environ["REQUESTS_CA_BUNDLE"] = os.environ["SSL_CERT_FILE"]
    try:
        yield
    finally:
        os.environ["REQUESTS_CA_BUNDLE"] = ours


def emulator_answers() -> bool:
    """Whether an emulator is up: the one of this shell, or else that of this repository. None is started."""
    return bool(os.environ.get("AZUREML_EMULATOR_URL")) or _call_emulator("status").returncode == 0


def _emulator_environment() -> str:
    """The variables of the emulator that is up, or else of one that is started."""
    found = _call_emulator("env", "--json")
    if found.returncode == 0:
        return found.stdout
    _emulator("start")
    return _emulator("env", "--json")


def _emulator(*arguments: str) -> str:
    called = _call_emulator(*arguments)
    if called.returncode != 0:
        raise ConnectionToAzureError(
            f"The emulator cannot be used: {called.stderr.strip().removeprefix('emulator: ')}",
            "Mend that, or set SUBSCRIPTION_ID, RESOURCE_GROUP and WORKSPACE_NAME to use Azure.",
        )
    return called.stdout


def _call_emulator(*arguments: str) -> subprocess.CompletedProcess[str]:
    root = Path(__file__).resolve().parent.parent
    return subprocess.run(
        [sys.executable, "-m", "emulator", *arguments],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=_EMULATOR_SECONDS,
        check=False,
    )


def credential(target: WorkspaceTarget) -> TokenCredential:
    """Who we are: the service principal in AZURE_CREDENTIALS, else what azure-identity finds.

    ``DefaultAzureCredential`` covers a service principal in AZURE_CLIENT_ID and its like, OpenID Connect (workload
    identity), a managed identity and ``az login``. The emulator's principal comes by its variables.

    Raises:
        ConnectionToAzureError: AZURE_CREDENTIALS is not a service principal's JSON.
    """
    from azure.identity import ClientSecretCredential, DefaultAzureCredential

    text = os.environ.get("AZURE_CREDENTIALS")
    if not text or target.cloud == "emulator":
        return DefaultAzureCredential()
    try:
        principal = json.loads(text)
        return ClientSecretCredential(principal["tenantId"], principal["clientId"], principal["clientSecret"])
    except (ValueError, KeyError, TypeError):
        # The parser's own words would quote the secret.
        raise ConnectionToAzureError(
            "AZURE_CREDENTIALS is not the JSON of a service principal with clientId, clientSecret and tenantId.",
            "Make it with `az ad sp create-for-rbac --sdk-auth`.",
        ) from None


def authentication(target: WorkspaceTarget) -> TokenAuthentication:
    """The SDK's login over azure-identity, which caches tokens and renews them during long waits."""
    from azureml.core.authentication import TokenAuthentication

    who = credential(target)
    # Audiences end with a slash of their own, which the scope must keep.
    return TokenAuthentication(lambda audience: who.get_token(f"{audience}/.default").token)


@lru_cache(maxsize=8)
def open_workspace(target: WorkspaceTarget) -> Workspace:
    """The SDK's object for a workspace that is there; got once per process.

    Raises:
        ConnectionToAzureError, WorkspaceError.
    """
    connect(target)
    from azureml.core import Workspace

    with explained(WorkspaceError, f"get {_name(target)}", "Check the names under `workspace` in the settings."):
        return Workspace.get(
            target.name,
            auth=authentication(target),
            subscription_id=target.subscription_id,
            resource_group=target.resource_group,
        )


def _name(target: WorkspaceTarget) -> str:
    place = f"resource group '{target.resource_group}' of subscription {target.subscription_id}"
    return f"workspace '{target.name}' in {place}"


def _create(target: WorkspaceTarget) -> None:
    from azureml.core import Workspace

    with explained(
        WorkspaceError,
        f"create {_name(target)}",
        "Check that the location exists and that the login may create resources in the resource group.",
    ):
        Workspace.create(
            target.name,
            auth=authentication(target),
            subscription_id=target.subscription_id,
            resource_group=target.resource_group,
            location=target.location,
            friendly_name=target.friendly_name,
            create_resource_group=True,
            exist_ok=True,
            show_output=False,
        )


def ensure_workspace(target: WorkspaceTarget, create_if_missing: bool) -> ReadyWorkspace:
    """Get the workspace, or create it where the settings allow that.

    Raises:
        ConnectionToAzureError: no login, or no connection.
        WorkspaceError: it is not there and may not be created, or cannot be.
    """
    created = False
    try:
        workspace = open_workspace(target)
    except WorkspaceError as error:
        if http_status(error) != 404:
            raise
        if not create_if_missing:
            raise WorkspaceError(
                f"There is no {_name(target)}.",
                "Correct the names, or set workspace.create_if_missing to true.",
            ) from error
        _create(target)
        created = True
        workspace = open_workspace(target)
    report(f"{workspace.name} ({target.cloud}{', created' if created else ''})")
    return ReadyWorkspace(name=workspace.name, cloud=target.cloud, created=created)


ensure_workspace_task = azure_operation("workspace")(ensure_workspace)
