"""Resource groups, workspaces and compute targets as Azure Resource Manager writes them."""

from __future__ import annotations

from typing import Any

from emulator.execution.nodes import Node, NodeCounts
from emulator.management.defaults import SUBSCRIPTION
from emulator.management.ssh import Account
from emulator.management.store import Compute, Workspace
from emulator.management.virtual_machines import family, virtual_cpus
from emulator.state import Record

LOCATIONS = ("local", "eastus", "eastus2", "westus2", "northeurope", "westeurope", "uksouth", "germanywestcentral")


def resource_group_payload(group: Record) -> dict[str, Any]:
    return {
        "id": f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{group['name']}",
        "name": group["name"],
        "type": "Microsoft.Resources/resourceGroups",
        "location": group["location"],
        "tags": group["tags"],
        "properties": {"provisioningState": "Succeeded"},
    }


def workspace_payload(workspace: Workspace, discovery_url: str) -> dict[str, Any]:
    providers = f"/subscriptions/{workspace.subscription}/resourceGroups/{workspace.resource_group}/providers"
    return {
        "id": workspace.arm_id,
        "name": workspace.name,
        "type": "Microsoft.MachineLearningServices/workspaces",
        "location": workspace.location,
        "tags": workspace.tags,
        "sku": {"name": "Basic", "tier": "Basic"},
        "identity": {"type": "SystemAssigned", "principalId": workspace.id, "tenantId": "adfs"},
        "properties": {
            "workspaceId": workspace.id,
            "friendlyName": workspace.friendly_name,
            "description": "",
            "creationTime": workspace.created,
            "provisioningState": "Succeeded",
            "discoveryUrl": discovery_url,
            "storageAccount": f"{providers}/Microsoft.Storage/storageAccounts/store",
            "keyVault": f"{providers}/Microsoft.KeyVault/vaults/vault",
            "applicationInsights": f"{providers}/Microsoft.Insights/components/insights",
            "containerRegistry": f"{providers}/Microsoft.ContainerRegistry/registries/registry",
            "hbiWorkspace": False,
            "v1LegacyMode": True,
        },
    }


def node_payload(node: Node) -> dict[str, Any]:
    """One entry of ``AmlCompute.list_nodes()``."""
    return {
        "nodeId": node.id,
        "nodeState": node.state,
        "runId": node.run_id,
        "privateIpAddress": "127.0.0.1",
        "publicIpAddress": None,
        "port": None,
    }


def compute_payload(workspace: Workspace, compute: Compute, nodes: NodeCounts) -> dict[str, Any]:
    inner = dict(compute.inner)
    if compute.compute_type == "AmlCompute":
        current = nodes.running + nodes.idle
        inner |= {
            "allocationState": "Steady",
            "allocationStateTransitionTime": compute.modified,
            "currentNodeCount": current,
            "targetNodeCount": current,
            "errors": [],
            "nodeStateCounts": {
                "runningNodeCount": nodes.running,
                "idleNodeCount": nodes.idle,
                "preparingNodeCount": 0,
                "leavingNodeCount": 0,
                "unusableNodeCount": 0,
                "preemptedNodeCount": nodes.preempted,
            },
        }
    if compute.compute_type == "AKS":
        tls = inner.get("sslConfiguration")
        inner["sslConfiguration"] = {**tls, "cert": None, "key": None} if tls else None
    return {
        "id": f"{workspace.arm_id}/computes/{compute.name}",
        "name": compute.name,
        "type": "Microsoft.MachineLearningServices/workspaces/computes",
        "location": compute.location,
        "tags": compute.tags,
        "properties": {
            "computeType": compute.compute_type,
            "computeLocation": compute.location,
            "description": compute.description,
            "resourceId": compute.resource_id,
            "isAttachedCompute": compute.attached,
            "provisioningState": compute.state,
            "provisioningErrors": compute.errors,
            "createdOn": compute.created,
            "modifiedOn": compute.modified,
            "properties": inner,
        },
    }


def credentials_payload(compute: Compute, account: Account | None) -> dict[str, Any]:
    """The account with which a virtual machine is logged in to; a DSVM of the emulator has none."""
    secrets: dict[str, Any] = {"username": None, "password": None, "privateKeyData": None}
    if account is not None:
        secrets["username"] = account.username
        secrets["password"] = account.password.get_secret_value() if account.password else None
        secrets["privateKeyData"] = account.private_key.get_secret_value() if account.private_key else None
    return {"computeType": compute.compute_type, "administratorAccount": secrets}


def vm_size_payload(size: str) -> dict[str, Any]:
    cpus = virtual_cpus(size)
    return {
        "name": size,
        "family": family(size),
        "vCPUs": cpus,
        "gpus": 0,
        "osVhdSizeMB": 1047552,
        "maxResourceVolumeMB": 102400,
        "memoryGB": cpus * 3.5,
        "lowPriorityCapable": True,
        "premiumIO": True,
    }
