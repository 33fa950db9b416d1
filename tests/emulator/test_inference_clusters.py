"""AKS clusters by the settings: made when they are missing and large enough, else compared with what is wanted."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from settings.compute_target import AksProdSettings, AksTestSettings
from settings.workspace import WorkspaceSettings, WorkspaceTarget, resolve_workspace
from tasks.compute import ensure_inference_cluster
from tasks.errors import ComputeError
from tasks.values import ReadyCompute
from tests.emulator.test_services_tls import make_certificate

if TYPE_CHECKING:
    from azureml.core import Workspace

pytestmark = pytest.mark.emulator

NETWORK = {
    "vnet_resourcegroup_name": "network",
    "vnet_name": "mlops-vnet",
    "subnet_name": "serving",
    "service_cidr": "10.0.0.0/16",
    "dns_service_ip": "10.0.0.10",
    "docker_bridge_cidr": "172.17.0.1/16",
}


@pytest.fixture(scope="module")
def target(workspace: Workspace) -> WorkspaceTarget:
    return resolve_workspace(WorkspaceSettings(), os.environ)


@pytest.fixture
def name(workspace: Workspace) -> Iterator[str]:
    """Of a cluster that is deleted afterwards, when it was made."""
    name = f"aks-{uuid.uuid4().hex[:8]}"
    yield name
    found = workspace.compute_targets.get(name)
    if found is not None:
        found.delete()


def production(target: WorkspaceTarget, name: str, **options: Any) -> ReadyCompute:
    return ensure_inference_cluster(target, AksProdSettings(name=name, **options), "FAST_PROD", 2)


def test_a_cluster_is_made_once_and_found_as_the_settings_want_it(target: WorkspaceTarget, name: str) -> None:
    wanted = {"agent_count": 3, "vm_size": "Standard_D4s_v3", **NETWORK}
    assert production(target, name, **wanted).created

    found = production(target, name, **wanted)

    assert (found.created, found.changes, found.differs) == (False, (), ())
    assert production(target, name).differs == ()  # what the settings leave open never differs


@pytest.mark.parametrize(
    ("options", "arithmetic"),
    [
        ({"agent_count": 2, "vm_size": "Standard_D4s_v3"}, "8 vCPUs (2 nodes of Standard_D4s_v3 with 4 each)"),
        ({"agent_count": 2}, "8 vCPUs (2 nodes of Standard_D3_v2 with 4 each)"),
        ({"vm_size": "STANDARD_D2S_V3"}, "6 vCPUs (3 nodes of STANDARD_D2S_V3 with 2 each)"),
    ],
)
def test_a_production_cluster_under_12_virtual_cpus_is_refused_with_the_arithmetic_before_it_is_made(
    target: WorkspaceTarget, workspace: Workspace, name: str, options: dict[str, Any], arithmetic: str
) -> None:
    with pytest.raises(ComputeError) as refused:
        production(target, name, **options)

    assert refused.value.message == f"Cluster {name} has {arithmetic}, and FAST_PROD needs 12 at least."
    assert "compute_target.deployment.aks_prod.agent_count" in refused.value.next_step
    assert "compute_target.deployment.aks_prod.vm_size" in refused.value.next_step
    assert name not in workspace.compute_targets


def test_a_test_cluster_may_be_small(target: WorkspaceTarget, name: str) -> None:
    small = AksTestSettings(name=name, agent_count=1, vm_size="Standard_D2s_v3")

    assert ensure_inference_cluster(target, small, "DEV_TEST", 2).created


def test_a_cluster_of_another_purpose_is_an_error(target: WorkspaceTarget, name: str) -> None:
    ensure_inference_cluster(target, AksTestSettings(name=name), "DEV_TEST", 2)

    with pytest.raises(ComputeError, match="has purpose DEV_TEST, the settings want FAST_PROD"):
        production(target, name)


def test_what_azure_ml_cannot_change_is_said_with_what_to_do(target: WorkspaceTarget, name: str) -> None:
    production(target, name, agent_count=3, vm_size="Standard_D4s_v3", **NETWORK)

    found = production(target, name, agent_count=5, vm_size="Standard_D8s_v3", **{**NETWORK, "subnet_name": "other"})

    assert found.changes == ()
    assert found.differs == (
        f"AKS cluster '{name}' has agent_count 3, the settings want 5; Azure ML cannot change it: scale it with "
        "`az aks scale --node-count 5`, or correct the settings",
        f"AKS cluster '{name}' has vm_size Standard_D4s_v3, the settings want Standard_D8s_v3; Azure ML cannot change "
        "it: choose another name for a cluster that has it, or correct the settings",
        f"AKS cluster '{name}' has subnet_name serving, the settings want other; Azure ML cannot change it: choose "
        "another name for a cluster that has it, or correct the settings",
    )


def test_tls_is_turned_on_for_a_cluster_that_is_there(
    target: WorkspaceTarget, workspace: Workspace, name: str, tmp_path: Path
) -> None:
    certificate, key = make_certificate(tmp_path)
    production(target, name)
    tls = {"ssl_cname": "localhost", "ssl_cert_pem_file": certificate, "ssl_key_pem_file": key}

    changed = production(target, name, **tls)

    assert changed.changes == ("ssl_cname from None to localhost",)
    assert workspace.compute_targets[name].ssl_configuration.cname == "localhost"
    assert production(target, name, **tls).changes == ()


def test_a_certificate_that_is_not_there_is_named(target: WorkspaceTarget, name: str) -> None:
    production(target, name)

    with pytest.raises(ComputeError, match=r"missing\.pem"):
        production(target, name, ssl_cname="localhost", ssl_cert_pem_file="missing.pem", ssl_key_pem_file="key.pem")
