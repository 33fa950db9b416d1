"""What a dry run says where some of it is there already, and that it is only said."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from settings import load
from settings.workspace import WorkspaceTarget
from tasks.plan import plan
from tasks.values import PlannedStep

if TYPE_CHECKING:
    from azureml.core import Workspace
    from azureml.core.compute import AmlCompute

pytestmark = pytest.mark.emulator

NAME = "compute_target.training.amlcompute.name=planned"
MAX_NODES = "compute_target.training.amlcompute.max_nodes"
VM_SIZE = "compute_target.training.amlcompute.vm_size"


@pytest.fixture
def cluster(workspace: Workspace) -> Iterator[AmlCompute]:
    from azureml.core.compute import AmlCompute, ComputeTarget

    wanted = AmlCompute.provisioning_configuration(
        vm_size="STANDARD_D2_V2", max_nodes=2, idle_seconds_before_scaledown=300
    )
    made = ComputeTarget.create(workspace, "planned", wanted)
    made.wait_for_completion()
    yield made
    made.delete()


def planned(workspace: Workspace, *overrides: str) -> dict[str, PlannedStep]:
    target = WorkspaceTarget(
        cloud="emulator",
        name=workspace.name,
        subscription_id=os.environ["SUBSCRIPTION_ID"],
        resource_group=workspace.resource_group,
    )
    return {step.step: step for step in plan(target, load(None, [NAME, *overrides]), fresh=False)}


def test_a_cluster_of_other_limits_would_be_changed_and_is_not(workspace: Workspace, cluster: AmlCompute) -> None:
    step = planned(workspace, f"{MAX_NODES}=3")["training compute"]

    assert (step.action, step.detail) == ("change", "planned: max_nodes from 2 to 3")
    cluster.refresh_state()
    assert cluster.scale_settings.maximum_node_count == 2


def test_a_cluster_as_the_settings_want_it_would_be_kept(workspace: Workspace, cluster: AmlCompute) -> None:
    assert planned(workspace, f"{MAX_NODES}=2")["training compute"].action == "keep"


def test_a_cluster_of_another_size_would_fail(workspace: Workspace, cluster: AmlCompute) -> None:
    step = planned(workspace, f"{VM_SIZE}=STANDARD_D3_V2")["training compute"]

    assert step.action == "fail"
    assert "has vm_size STANDARD_D2_V2, the settings want STANDARD_D3_V2; Azure cannot change it." in step.detail


@pytest.fixture
def prod_cluster(workspace: Workspace) -> Iterator[str]:
    """Three nodes of Standard_D4s_v3 for FAST_PROD; the override that names them."""
    from azureml.core.compute import AksCompute, ComputeTarget

    wanted = AksCompute.provisioning_configuration(agent_count=3, vm_size="Standard_D4s_v3")
    made = ComputeTarget.create(workspace, "planned-aks", wanted)
    made.wait_for_completion()
    yield "compute_target.deployment.aks_prod.name=planned-aks"
    made.delete()


def test_a_production_cluster_as_the_settings_want_it_would_be_kept(workspace: Workspace, prod_cluster: str) -> None:
    step = planned(workspace, prod_cluster)["prod cluster"]

    assert (step.action, step.detail) == ("keep", "planned-aks: AKS FAST_PROD")
    assert step.cost == "3 nodes of Standard_D4s_v3 until it is deleted"


def test_what_differs_of_a_production_cluster_is_listed_and_its_certificate_would_be_changed(
    workspace: Workspace, prod_cluster: str
) -> None:
    aks = "compute_target.deployment.aks_prod"
    certificate = (f"{aks}.ssl_cname=ml.example", f"{aks}.ssl_cert_pem_file=c.pem", f"{aks}.ssl_key_pem_file=k.pem")

    step = planned(workspace, prod_cluster, f"{aks}.agent_count=5", *certificate)["prod cluster"]

    assert step.action == "change"
    assert step.detail == (
        "planned-aks: AKS FAST_PROD; ssl_cname from None to ml.example; AKS cluster 'planned-aks' has agent_count 3, "
        "the settings want 5; Azure ML cannot change it: scale it with `az aks scale --node-count 5`, or correct the "
        "settings"
    )
    assert step.cost == "3 nodes of Standard_D4s_v3 until it is deleted"


def test_a_production_cluster_that_is_too_small_would_fail(workspace: Workspace) -> None:
    step = planned(workspace, "compute_target.deployment.aks_prod.agent_count=1")["prod cluster"]

    assert step.action == "fail"
    assert "has 4 vCPUs (1 nodes of Standard_D4s_v3 with 4 each), and FAST_PROD needs 12 at least." in step.detail


def test_data_that_breaks_a_rule_would_end_the_run(workspace: Workspace) -> None:
    step = planned(workspace, "data.min_rows=1000")["data"]

    assert "442 rows, which break 1 of its rules: the run would end as DataRejected" in step.detail


def test_a_tuning_uses_as_many_nodes_as_run_at_a_time(workspace: Workspace) -> None:
    tuning = "experiment.hyperparameter_sampling"
    distribution = '{"distribution": "uniform", "parameters": {"min_value": 0.1, "max_value": 1}}'
    sampling = {
        "use_hyperparameter_sampling": "true",
        "method": "random",
        "primary_metric_name": "mse",
        "primary_metric_goal": "min",
        "max_total_runs": "8",
        "max_concurrent_runs": "3",
        "parameters": f'{{"--alpha": {distribution}}}',
    }

    step = planned(workspace, *(f"{tuning}.{name}={value}" for name, value in sampling.items()))["training"]

    assert step.detail == "train.py --data diabetes.csv on planned, 8 times with --alpha by random search"
    assert step.cost == "3 nodes of STANDARD_D2_V2 for up to 720 minutes"
