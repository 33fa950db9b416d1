"""Compute targets: what all kinds have in common, and the AKS clusters that serve models.

Azure: https://learn.microsoft.com/azure/machine-learning/concept-compute-target; SDK: ``azureml.core.compute``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from settings.workspace import WorkspaceTarget
from tasks.errors import ComputeError
from tasks.operation import azure_operation, explained
from tasks.progress import report
from tasks.values import ReadyCompute
from tasks.waiting import within
from tasks.workspace import open_workspace

if TYPE_CHECKING:
    from azureml.core.compute import AksCompute

    from settings.compute_target import AksProdSettings, AksTestSettings

Purpose = Literal["DEV_TEST", "FAST_PROD"]
ComputeType = Literal["AmlCompute", "VirtualMachine", "AKS"]


def ensure_inference_cluster(
    target: WorkspaceTarget, settings: AksTestSettings | AksProdSettings, purpose: Purpose, minutes: float
) -> ReadyCompute:
    """The AKS cluster of a stage, created when it is not there.

    Raises:
        ComputeError: it cannot be made, or is there with another purpose, which Azure cannot change.
    """
    cluster = find_compute(target, settings.name, "AKS")
    if cluster is None:
        _create(target, settings, purpose, minutes)
    else:
        check_purpose(cluster, purpose)
    return ReadyCompute(name=settings.name, kind="AKS", created=cluster is None, changes=(), cluster_purpose=purpose)


def look_up(target: WorkspaceTarget, name: str, kind: ComputeType) -> Any:
    """The compute target of that name in whatever state; None when there is none.

    Raises:
        ComputeError: it is of another kind.
    """
    from azureml.core.compute import ComputeTarget
    from azureml.exceptions import ComputeTargetException

    workspace = open_workspace(target)
    with explained(ComputeError, f"get compute target '{name}'", "Look at it in the Azure ML studio."):
        try:
            found = ComputeTarget(workspace, name)
        except ComputeTargetException as error:
            # The SDK says "not there" by this word in the message only.
            if "ComputeTargetNotFound" in str(error):
                return None
            raise
    if found.type != kind:
        raise ComputeError(
            f"Compute target '{name}' is of type {found.type}, the settings want {kind}.",
            "Choose another name in the settings.",
        )
    return found


def find_compute(target: WorkspaceTarget, name: str, kind: ComputeType) -> Any:
    """The compute target of that name, which is well; None when there is none.

    Raises:
        ComputeError: it is of another kind, or was not made well.
    """
    found = look_up(target, name, kind)
    if found is not None and found.provisioning_state == "Failed":
        raise ComputeError(
            f"Compute target '{name}' failed to be provisioned: {provider_errors(found.provisioning_errors)}.",
            "Delete it in the Azure ML studio, or choose another name in the settings.",
        )
    return found


def provision(start: Callable[[], Any], name: str, minutes: float, doing: str, next_step: str) -> None:
    """Start to create, change or attach a compute target, and wait until it is ready.

    Args:
        start: calls the SDK and returns the compute target.
        doing: "create", "change", "attach", for errors.

    Raises:
        ComputeError: Azure refuses it, or it was not made well; says the errors of its provider.
        OperationTimeout: it was not ready in time.
    """
    from azureml.exceptions import ComputeTargetException

    with explained(ComputeError, f"{doing} compute target '{name}'", next_step):
        compute = start()
        try:
            within(minutes, f"provisioning of compute target '{name}'", lambda: compute.wait_for_completion())
        except ComputeTargetException:
            compute.refresh_state()
            if not compute.provisioning_errors:
                raise
        if compute.provisioning_state != "Succeeded":
            raise ComputeError(
                f"Could not {doing} compute target '{name}': it ended as {compute.provisioning_state}: "
                f"{provider_errors(compute.provisioning_errors)}.",
                next_step,
            )


def provider_errors(errors: object) -> str:
    """The messages in ``ComputeTarget.provisioning_errors``, whose shape differs between providers, as one sentence."""
    if isinstance(errors, list):
        return "; ".join(provider_errors(error) for error in errors)
    if isinstance(errors, dict):
        inner = errors.get("error")
        return provider_errors(inner) if inner else str(errors.get("message") or errors).rstrip(". ")
    return str(errors or "no reason was given").rstrip(". ")


def _create(
    target: WorkspaceTarget, wanted: AksTestSettings | AksProdSettings, purpose: Purpose, minutes: float
) -> None:
    from azureml.core.compute import ComputeTarget

    report("creating")
    provision(
        lambda: ComputeTarget.create(open_workspace(target), wanted.name, _aks_configuration(wanted, purpose)),
        wanted.name,
        minutes,
        "create",
        "Check size, quota and location of the compute target in the settings.",
    )
    report("created")


def _aks_configuration(wanted: AksTestSettings | AksProdSettings, purpose: Purpose) -> Any:
    from azureml.core.compute import AksCompute

    return AksCompute.provisioning_configuration(
        agent_count=wanted.agent_count,
        vm_size=wanted.vm_size,
        ssl_cname=wanted.ssl_cname,
        ssl_cert_pem_file=wanted.ssl_cert_pem_file,
        ssl_key_pem_file=wanted.ssl_key_pem_file,
        location=wanted.location,
        vnet_resourcegroup_name=wanted.vnet_resourcegroup_name,
        vnet_name=wanted.vnet_name,
        subnet_name=wanted.subnet_name,
        service_cidr=wanted.service_cidr,
        dns_service_ip=wanted.dns_service_ip,
        docker_bridge_cidr=wanted.docker_bridge_cidr,
        cluster_purpose=getattr(AksCompute.ClusterPurpose, purpose),
    )


def check_purpose(cluster: AksCompute, wanted: Purpose) -> None:
    """See that an AKS cluster is one for ``wanted``.

    Raises:
        ComputeError: it has another purpose, which Azure cannot change.
    """
    from azureml.core.compute import AksCompute

    names = {value: name for name, value in vars(AksCompute.ClusterPurpose).items() if name.isupper()}
    found = names.get(cluster.cluster_purpose, cluster.cluster_purpose)
    if found != wanted:
        stage = "aks_test" if wanted == "DEV_TEST" else "aks_prod"
        raise ComputeError(
            f"The AKS cluster '{cluster.name}' has purpose {found}, the settings want {wanted}.",
            f"Choose another name in compute_target.deployment.{stage}, or detach the cluster from the workspace.",
        )


ensure_inference_cluster_task = azure_operation("inference cluster")(ensure_inference_cluster)
