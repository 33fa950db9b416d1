"""The checks before the first run, asked of an Azure Resource Manager that lacks one thing after the other."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from settings import load
from settings.workspace import WorkspaceTarget
from tasks.preflight import ACTIONS, PROVIDERS, allows, preflight
from tasks.values import Check
from tests.emulator.conftest import Client

if TYPE_CHECKING:
    from azureml.core import Workspace

pytestmark = pytest.mark.emulator

CONTRIBUTOR = {"actions": ["*"], "notActions": ["Microsoft.Authorization/*/Write", "Microsoft.Authorization/*/Delete"]}
READER = {"actions": ["*/read"], "notActions": []}


@pytest.fixture
def target(workspace: Workspace) -> WorkspaceTarget:
    """A workspace that is not there."""
    return WorkspaceTarget(
        cloud="emulator",
        name=f"ws-{uuid.uuid4().hex[:8]}",
        subscription_id=workspace.subscription_id,
        resource_group=workspace.resource_group,
        location="West Europe",
    )


def checked(target: WorkspaceTarget, *overrides: str) -> dict[str, Check]:
    return {check.name: check for check in preflight(target, load(None, list(overrides)))}


def results(checks: dict[str, Check]) -> dict[str, str]:
    return {name: check.result for name, check in checks.items() if check.result != "passed"}


@contextmanager
def unregistered(client: Client, subscription: str, namespace: str) -> Iterator[None]:
    provider = f"/subscriptions/{subscription}/providers/{namespace}"
    assert client.call("POST", f"{provider}/unregister").status_code == 200
    try:
        yield
    finally:
        assert client.call("POST", f"{provider}/register").json()["registrationState"] == "Registered"


def test_before_the_first_run_all_is_there_but_the_workspace_which_that_run_creates(target: WorkspaceTarget) -> None:
    checks = checked(target)

    assert results(checks) == {}
    assert checks["workspace"].detail == f"{target.name} is not there; the first run creates it in West Europe"
    assert checks["login"].detail == "logged in as Azure ML emulator"
    assert checks["quota for training"].detail == "8 vCPUs for 4 nodes of STANDARD_D2_V2 are free in westeurope"


def test_a_resource_provider_that_is_not_registered_is_named_with_the_command_that_registers_it(
    target: WorkspaceTarget, client: Client
) -> None:
    with unregistered(client, target.subscription_id, "Microsoft.ContainerInstance"):
        found = checked(target)["resource providers"]

    assert found.result == "missing"
    assert "Microsoft.ContainerInstance is NotRegistered" in found.detail
    assert found.next_step == "az provider register --namespace Microsoft.ContainerInstance --wait"


@pytest.mark.parametrize(
    ("override", "check", "detail"),
    [
        (
            "compute_target.training.amlcompute.max_nodes=60",
            "quota for training",
            "60 nodes of STANDARD_D2_V2 (train-cluster) need 120 vCPUs of 'Standard Dv2 Family Cluster Dedicated "
            "vCPUs', of which",
        ),
        (
            "compute_target.training.amlcompute.vm_size=Standard_D200",
            "quota for training",
            "There is no size Standard_D200 in westeurope.",
        ),
        (
            "compute_target.deployment.aks_prod.agent_count=2",
            "quota for serving",
            "Cluster aks-prod has 8 vCPUs (2 nodes of Standard_D4s_v3 with 4 each), and FAST_PROD needs 12 at least.",
        ),
        (
            "compute_target.deployment.aks_prod.agent_count=30",
            "quota for serving",
            "The AKS clusters that are to be created need 124 vCPUs of 'standardDSv3Family', of which ",
        ),
    ],
)
def test_quota_that_does_not_suffice_is_told_in_virtual_cpus(
    target: WorkspaceTarget, override: str, check: str, detail: str
) -> None:
    checks = checked(target, override)

    assert results(checks) == {check: "missing"}
    assert detail in checks[check].detail


def test_a_workspace_that_is_not_there_and_may_not_be_created_is_missing(target: WorkspaceTarget) -> None:
    checks = checked(target, "workspace.create_if_missing=false")

    assert results(checks) == {"workspace": "missing"}


def test_a_region_that_azure_does_not_have_is_missing(target: WorkspaceTarget) -> None:
    checks = checked(target.model_copy(update={"location": "atlantis"}))

    assert checks["workspace"].detail.startswith("Azure ML has no region 'atlantis'; it has local, eastus")


def test_a_subscription_that_the_login_does_not_see_is_missing(target: WorkspaceTarget) -> None:
    other = "11111111-1111-1111-1111-111111111111"

    checks = checked(target.model_copy(update={"subscription_id": other}))

    assert checks["subscription"].detail == (
        f"The login does not see subscription {other}; it sees {target.subscription_id}."
    )


def test_a_name_that_another_kind_of_compute_has_is_missing(target: WorkspaceTarget, workspace: Workspace) -> None:
    from azureml.core.compute import AksCompute, ComputeTarget

    purpose = AksCompute.ClusterPurpose.DEV_TEST
    wanted = AksCompute.provisioning_configuration(agent_count=1, cluster_purpose=purpose)
    cluster = ComputeTarget.create(workspace, "taken-name", wanted)
    cluster.wait_for_completion()
    there = target.model_copy(update={"name": workspace.name})

    checks = checked(there, "compute_target.training.amlcompute.name=taken-name")

    assert checks["names"].detail == "Compute target 'taken-name' is there as AKS, and the settings want AmlCompute."
    cluster.delete()


def test_without_a_login_nothing_else_can_be_checked(target: WorkspaceTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_CLIENT_SECRET", "wrong")

    checks = checked(target)

    assert checks["login"].result == "missing"
    assert "az login" in str(checks["login"].next_step)
    assert set(results(checks).values()) == {"missing", "unknown"}
    assert checks["roles"].detail == "could not be checked: there is no login"


@pytest.mark.parametrize("action", ACTIONS)
def test_a_contributor_may_do_what_a_run_does(action: str) -> None:
    assert allows([READER, CONTRIBUTOR], action)
    assert allows([READER], action) == action.endswith("/read")


def test_what_a_role_takes_back_is_not_allowed() -> None:
    without_computes = {"actions": ["*"], "notActions": ["microsoft.machinelearningservices/workspaces/computes/*"]}

    assert not allows([without_computes], "Microsoft.MachineLearningServices/workspaces/computes/write")
    assert allows([without_computes, CONTRIBUTOR], "Microsoft.MachineLearningServices/workspaces/computes/write")


def test_the_emulator_knows_the_providers_and_refuses_others(client: Client, target: WorkspaceTarget) -> None:
    providers = f"/subscriptions/{target.subscription_id}/providers"
    assert {client.call("GET", f"{providers}/{each}").json()["registrationState"] for each in PROVIDERS} == {
        "Registered"
    }

    refused = client.call("GET", f"{providers}/Microsoft.Tea")

    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "InvalidResourceNamespace")
