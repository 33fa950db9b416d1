"""Workspaces and compute targets, made and changed by the unmodified SDK."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.emulator.conftest import Client

if TYPE_CHECKING:
    from azureml.core import Workspace
    from azureml.core.compute import AmlCompute

pytestmark = pytest.mark.emulator

SUBSCRIPTION = "00000000-0000-0000-0000-000000000000"


def path_of(workspace: Workspace) -> str:
    return str(workspace.get_details()["id"])


@pytest.fixture
def cluster(workspace: Workspace, client: Client) -> Iterator[AmlCompute]:
    from azureml.core.compute import AmlCompute, ComputeTarget

    wanted = AmlCompute.provisioning_configuration(
        vm_size="STANDARD_D2_V2", min_nodes=0, max_nodes=2, idle_seconds_before_scaledown=300, tags={"team": "a"}
    )
    made = ComputeTarget.create(workspace, "cpu-cluster", wanted)
    made.wait_for_completion()
    yield made
    client.call("DELETE", f"{path_of(workspace)}/computes/cpu-cluster")


def test_a_training_cluster_is_created_as_it_was_asked_for(cluster: AmlCompute) -> None:
    status = cluster.get_status().serialize()
    assert cluster.provisioning_state == "Succeeded"
    assert cluster.vm_size == "STANDARD_D2_V2"
    assert cluster.tags == {"team": "a"}
    assert (cluster.scale_settings.minimum_node_count, cluster.scale_settings.maximum_node_count) == (0, 2)
    assert status["allocationState"] == "Steady"
    assert status["currentNodeCount"] == 0


def test_an_update_of_a_training_cluster_changes_what_it_names_and_nothing_else(cluster: AmlCompute) -> None:
    cluster.update(max_nodes=4)
    cluster.refresh_state()
    assert cluster.scale_settings.maximum_node_count == 4
    assert cluster.vm_size == "STANDARD_D2_V2"
    assert cluster.tags == {"team": "a"}


def test_compute_targets_are_found_by_name_in_the_list_and_not_after_deletion(
    workspace: Workspace, cluster: AmlCompute
) -> None:
    from azureml.core.compute import ComputeTarget
    from azureml.exceptions import ComputeTargetException

    assert ComputeTarget(workspace, "cpu-cluster").id == cluster.id
    assert "cpu-cluster" in workspace.compute_targets
    cluster.delete()
    with pytest.raises(ComputeTargetException, match="ComputeTargetNotFound"):
        ComputeTarget(workspace, "cpu-cluster")


def test_an_aks_cluster_for_development_is_created_and_listed(workspace: Workspace) -> None:
    from azureml.core.compute import AksCompute, ComputeTarget

    wanted = AksCompute.provisioning_configuration(
        agent_count=1, vm_size="Standard_D3_v2", cluster_purpose=AksCompute.ClusterPurpose.DEV_TEST
    )
    made = ComputeTarget.create(workspace, "aks-test", wanted)
    made.wait_for_completion()
    try:
        found = workspace.compute_targets["aks-test"]
        assert isinstance(found, AksCompute)
        assert (found.agent_count, found.agent_vm_size) == (1, "Standard_D3_v2")
        assert found.cluster_purpose == "DevTest"
        assert found.get_status() == "Succeeded"
    finally:
        made.delete()


def test_a_production_cluster_of_less_than_12_virtual_cpus_is_refused_with_the_sum(workspace: Workspace) -> None:
    from azureml.core.compute import AksCompute, ComputeTarget
    from azureml.exceptions import ComputeTargetException

    wanted = AksCompute.provisioning_configuration(agent_count=2, vm_size="Standard_D3_v2")
    with pytest.raises(ComputeTargetException, match="2 agents of Standard_D3_v2 with 4 each have 8"):
        ComputeTarget.create(workspace, "aks-prod", wanted)
    assert "aks-prod" not in workspace.compute_targets


@pytest.mark.parametrize(
    ("properties", "status", "message"),
    [
        ({"computeType": "Databricks"}, 501, "compute type 'Databricks'"),
        ({"computeType": "AmlCompute", "properties": {}}, 400, "vmSize is missing"),
        (
            {"computeType": "AmlCompute", "properties": {"vmSize": "a", "scaleSettings": {"maxNodeCount": "two"}}},
            400,
            "maxNodeCount is 'two'",
        ),
        (
            {
                "computeType": "AmlCompute",
                "properties": {"vmSize": "a", "scaleSettings": {"minNodeCount": 3, "maxNodeCount": 2}},
            },
            400,
            "minNodeCount 3 is more than maxNodeCount 2",
        ),
    ],
)
def test_a_compute_target_that_cannot_be_is_refused_with_the_reason(
    workspace: Workspace, client: Client, properties: dict[str, Any], status: int, message: str
) -> None:
    path = f"{path_of(workspace)}/computes/impossible"
    refused = client.call("PUT", path, json={"properties": properties})
    assert (refused.status_code, message in refused.json()["message"]) == (status, True)
    assert client.call("GET", path).status_code == 404


def test_a_change_of_a_compute_target_that_is_not_there_does_not_make_it(workspace: Workspace, client: Client) -> None:
    path = f"{path_of(workspace)}/computes/nowhere"
    properties = {"computeType": "AmlCompute", "properties": {"vmSize": "Standard_D2_v2"}}
    assert client.call("PATCH", path, json={"properties": properties}).status_code == 404
    assert client.call("GET", path).status_code == 404


def test_a_workspace_is_created_used_and_deleted_with_azure_identitys_login(workspace: Workspace) -> None:
    from azure.identity import DefaultAzureCredential
    from azureml.core.authentication import TokenAuthentication
    from azureml.exceptions import ProjectSystemException

    who = DefaultAzureCredential()
    login = TokenAuthentication(lambda audience: who.get_token(f"{audience}/.default").token)
    place = {"subscription_id": SUBSCRIPTION, "resource_group": "research"}
    made = type(workspace).create(
        "lab", auth=login, location="westeurope", create_resource_group=True, tags={"cost": "42"}, **place
    )
    assert made.tags["cost"] == "42"
    found = type(workspace).get("lab", auth=login, **place)
    assert (found.name, found.location, found.resource_group) == ("lab", "westeurope", "research")
    assert found.get_details()["workspaceid"] != workspace.get_details()["workspaceid"]
    assert found.compute_targets == {}
    assert "lab" in type(workspace).list(SUBSCRIPTION, auth=login)
    found.update(tags={"cost": "0"})
    assert type(workspace).get("lab", auth=login, **place).tags["cost"] == "0"
    found.delete()
    with pytest.raises(ProjectSystemException, match="not found"):
        type(workspace).get("lab", auth=login, **place)


def test_a_workspace_at_work_is_not_deleted(workspace: Workspace, client: Client) -> None:
    group = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/mlops"
    path = f"{group}/providers/Microsoft.MachineLearningServices/workspaces/busy"
    run = f"/history/v1.0{path}/experiments/weather"
    client.call("PUT", path, json={}).raise_for_status()
    client.call("POST", run, json={}).raise_for_status()
    client.call("PATCH", f"{run}/runs/today", json={"status": "Running"}).raise_for_status()
    refused = client.call("DELETE", path)
    assert refused.status_code == 409
    assert "still has run 'today'" in refused.json()["message"]
    client.call("PATCH", f"{run}/runs/today", json={"status": "Completed"}).raise_for_status()
    assert client.call("DELETE", path).status_code == 200
    assert client.call("GET", path).status_code == 404


def test_another_subscription_is_not_found(workspace: Workspace) -> None:
    other = "11111111-1111-1111-1111-111111111111"
    with pytest.raises(Exception, match=other):
        type(workspace).get(workspace.name, subscription_id=other, resource_group=workspace.resource_group)


def test_a_workspace_that_is_not_there_is_named_beside_those_that_are(client: Client) -> None:
    group = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/mlops"
    missing = client.call("GET", f"{group}/providers/Microsoft.MachineLearningServices/workspaces/atlantis")
    assert missing.status_code == 404
    assert "'atlantis'" in missing.json()["message"]
    assert "mlops/mlops" in missing.json()["message"]


def test_a_workspace_needs_a_resource_group_that_is_there(client: Client) -> None:
    group = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/atlantis"
    path = f"{group}/providers/Microsoft.MachineLearningServices/workspaces/lab"
    assert client.call("HEAD", group).status_code == 404
    refused = client.call("PUT", path, json={})
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "ResourceGroupNotFound")
    client.call("PUT", group, json={"location": "local"}).raise_for_status()
    assert client.call("HEAD", group).status_code == 204
    assert client.call("PUT", path, json={}).status_code == 200


def test_paths_are_found_whatever_their_case_and_doubled_slashes(workspace: Workspace, client: Client) -> None:
    path = path_of(workspace).replace("/resourceGroups/mlops", "//resourcegroups/MLOPS") + "/"
    assert client.call("GET", path).json()["properties"]["workspaceId"] == workspace.get_details()["workspaceid"]


@pytest.mark.parametrize("name", ["..%2F..%2Fstate.db", "%2e%2e", "a%00b"])
def test_a_name_that_climbs_out_of_its_place_is_refused(name: str, workspace: Workspace, client: Client) -> None:
    refused = client.call("GET", f"{path_of(workspace)}/computes/{name}")
    assert refused.status_code == 400


def test_a_body_that_is_not_json_is_refused_with_its_place(workspace: Workspace, client: Client) -> None:
    refused = client.call("PUT", f"{path_of(workspace)}/computes/c", data="{computeType: AmlCompute}")
    assert refused.status_code == 400
    assert "is not JSON" in refused.json()["message"]
