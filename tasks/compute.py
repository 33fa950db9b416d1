"""Compute targets: what all kinds have in common, and the AKS clusters that serve models.

Azure: https://learn.microsoft.com/azure/machine-learning/concept-compute-target; SDK: ``azureml.core.compute``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from settings.compute_target import AksProdSettings, AksTestSettings
from settings.workspace import WorkspaceTarget
from tasks.errors import ComputeError
from tasks.operation import azure_operation, explained
from tasks.progress import report
from tasks.resource_manager import ResourceManager
from tasks.values import ReadyCompute
from tasks.waiting import within
from tasks.workspace import open_workspace

if TYPE_CHECKING:
    from azureml.core.compute import AksCompute

Purpose = Literal["DEV_TEST", "FAST_PROD"]
ComputeType = Literal["AmlCompute", "VirtualMachine", "AKS"]
AksSettings = AksTestSettings | AksProdSettings

FAST_PROD_VIRTUAL_CPUS = 12
"""The least of a cluster with purpose FAST_PROD, in all its nodes."""

# What Azure ML takes where the settings say nothing.
_AKS_NODES, _AKS_SIZE = 3, "Standard_D3_v2"
_API_VERSION = "2021-07-01"


def ensure_inference_cluster(
    target: WorkspaceTarget, settings: AksSettings, purpose: Purpose, minutes: float
) -> ReadyCompute:
    """The AKS cluster of a stage: created when it is not there, else given the certificate of the settings.

    What else differs from the settings is said in the value, and is no error: production must be able to go back to a
    former model on whatever cluster it has.

    Raises:
        ComputeError: it cannot be made or changed, is too small for FAST_PROD, or is there with another purpose, which
            Azure cannot change.
        OperationTimeout: it was not ready in time.
    """
    cluster = find_compute(target, settings.name, "AKS")
    if cluster is None:
        if purpose == "FAST_PROD":
            refuse_too_small(target, settings)
        _create(target, settings, purpose, minutes)
        return ReadyCompute(name=settings.name, kind="AKS", created=True, changes=(), cluster_purpose=purpose)
    check_purpose(cluster, purpose)
    changes = _give_certificate(cluster, settings, minutes)
    return ReadyCompute(
        name=settings.name,
        kind="AKS",
        created=False,
        changes=changes,
        differs=differences(target, cluster, settings),
        cluster_purpose=purpose,
    )


def nodes_of(settings: AksSettings) -> tuple[int, str]:
    """How many nodes an AKS cluster of the settings has, and of which size."""
    return settings.agent_count or _AKS_NODES, settings.vm_size or _AKS_SIZE


def check_virtual_cpus(settings: AksSettings, cpus_of_node: int) -> None:
    """See that a cluster of the settings is large enough for FAST_PROD. Pure.

    Raises:
        ComputeError: it is not; says how many virtual CPUs it would have.
    """
    nodes, size = nodes_of(settings)
    cpus = nodes * cpus_of_node
    if cpus < FAST_PROD_VIRTUAL_CPUS:
        raise ComputeError(
            f"Cluster {settings.name} has {cpus} vCPUs ({nodes} nodes of {size} with {cpus_of_node} each), and "
            f"FAST_PROD needs {FAST_PROD_VIRTUAL_CPUS} at least.",
            "Raise compute_target.deployment.aks_prod.agent_count, or choose a larger "
            "compute_target.deployment.aks_prod.vm_size.",
        )


def refuse_too_small(target: WorkspaceTarget, settings: AksSettings) -> None:
    """See that a cluster that is to be made is large enough for FAST_PROD.

    Raises:
        ComputeError: it is not.
    """
    from azureml.core.compute import AmlCompute

    what = "list the sizes of virtual machines"
    with explained(ComputeError, what, "Check compute_target.deployment.aks_prod.location."):
        # AksCompute has no such list; the sizes are those of all virtual machines of the region.
        sizes = AmlCompute.supported_vmsizes(open_workspace(target), location=settings.location)
    cpus = {size["name"].lower(): size["vCPUs"] for size in sizes}.get(nodes_of(settings)[1].lower())
    if cpus is not None:  # of a size that is not listed, Azure itself has to judge
        check_virtual_cpus(settings, cpus)


def certificate_changes(cluster: AksCompute, wanted: AksSettings) -> tuple[str, ...]:
    """What a certificate of the settings changes of a cluster: TLS is turned on, or to another host name. Pure."""
    found = cluster.ssl_configuration.cname if cluster.ssl_configuration else None
    if wanted.ssl_cname is None or wanted.ssl_cname == found:
        return ()
    return (f"ssl_cname from {found} to {wanted.ssl_cname}",)


def _give_certificate(cluster: AksCompute, wanted: AksSettings, minutes: float) -> tuple[str, ...]:
    """Give the cluster the certificate of the settings, where that changes it; says so."""
    from azureml.core.compute.aks import AksUpdateConfiguration, SslConfiguration

    changes = certificate_changes(cluster, wanted)
    if not changes:
        return ()

    def update() -> AksCompute:
        certificate = SslConfiguration(
            status="Enabled",
            cname=wanted.ssl_cname,
            cert=Path(str(wanted.ssl_cert_pem_file)).read_text("utf-8"),
            key=Path(str(wanted.ssl_key_pem_file)).read_text("utf-8"),
        )
        cluster.update(AksUpdateConfiguration(ssl_configuration=certificate))
        return cluster

    report("changing")
    provision(update, wanted.name, minutes, "change", "Check ssl_cname, ssl_cert_pem_file and ssl_key_pem_file.")
    return changes


def differences(target: WorkspaceTarget, cluster: AksCompute, settings: AksSettings) -> tuple[str, ...]:
    """What of a cluster that is there is not as the settings want it, and stays so, in sentences."""
    return tuple(lasting_differences(cluster, _network(target, settings), settings))


def _network(target: WorkspaceTarget, settings: AksSettings) -> dict[str, Any]:
    """The network of a cluster that is there, which the SDK's AksCompute leaves out."""
    manager = ResourceManager(target)
    workspace = f"{manager.group}/providers/Microsoft.MachineLearningServices/workspaces/{target.name}"
    with explained(ComputeError, f"get compute target '{settings.name}'", "Look at it in the Azure ML studio."):
        found = manager.get(f"{workspace}/computes/{settings.name}", _API_VERSION) or {}
    inner = found.get("properties", {}).get("properties") or {}
    return inner.get("aksNetworkingConfiguration") or {}


def lasting_differences(cluster: AksCompute, network: dict[str, Any], wanted: AksSettings) -> Iterator[str]:
    """Where an AKS cluster is not as the settings want it, and the SDK cannot change it. What they leave open never
    differs, and neither does what Azure does not say of an attached cluster. Pure.

    Args:
        network: ``aksNetworkingConfiguration``, as Azure Resource Manager has it.
    """
    subnet = str(network.get("subnetId") or "").split("/")
    parts = dict(pairwise(subnet))
    options = {
        "agent_count": cluster.agent_count,
        "vm_size": cluster.agent_vm_size,
        "location": cluster.cluster_location,
        "vnet_resourcegroup_name": parts.get("resourceGroups"),
        "vnet_name": parts.get("virtualNetworks"),
        "subnet_name": parts.get("subnets"),
        "service_cidr": network.get("serviceCidr"),
        "dns_service_ip": network.get("dnsServiceIP"),
        "docker_bridge_cidr": network.get("dockerBridgeCidr"),
    }
    advice = {"agent_count": f"scale it with `az aks scale --node-count {wanted.agent_count}`"}
    for option, found in options.items():
        given = getattr(wanted, option)
        if given is None or found is None or plain_name(found) == plain_name(given):
            continue
        yield (
            f"AKS cluster '{wanted.name}' has {option} {found}, the settings want {given}; Azure ML cannot change it: "
            f"{advice.get(option, 'choose another name for a cluster that has it')}, or correct the settings"
        )


def plain_name(value: object) -> str:
    """Without what Azure writes in two ways: ``westeurope`` of ``West Europe``."""
    return str(value).lower().replace(" ", "")


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


def _create(target: WorkspaceTarget, wanted: AksSettings, purpose: Purpose, minutes: float) -> None:
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


def _aks_configuration(wanted: AksSettings, purpose: Purpose) -> Any:
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
