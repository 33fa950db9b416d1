"""Compute targets: got, compared with the settings, and created or changed where they differ.

Azure: https://learn.microsoft.com/azure/machine-learning/concept-compute-target; SDK: ``azureml.core.compute``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from settings.compute_target import ComputeTargetSettings
from settings.workspace import WorkspaceTarget
from tasks.errors import ComputeError
from tasks.operation import azure_operation, explained
from tasks.progress import report
from tasks.values import ReadyCompute
from tasks.waiting import within
from tasks.workspace import open_workspace

if TYPE_CHECKING:
    from azureml.core.compute import AksCompute, AmlCompute

    from settings.compute_target import AksProdSettings, AksTestSettings, AmlComputeSettings

Purpose = Literal["DEV_TEST", "FAST_PROD"]


def ensure_training_compute(target: WorkspaceTarget, settings: ComputeTargetSettings, minutes: float) -> ReadyCompute:
    """The AmlCompute cluster of the settings: created when it is not there, scaled when its limits differ.

    Args:
        minutes: the deadline for provisioning.

    Raises:
        ComputeError: it cannot be made, or is there with another size or priority, which Azure cannot change.
    """
    wanted = settings.training.amlcompute
    name = _named(wanted.name, "compute_target.training.amlcompute.name")
    cluster = find_compute(target, name, "AmlCompute")
    if cluster is None:
        _create(target, name, _aml_compute_configuration(wanted), minutes)
        return ReadyCompute(name=name, kind="AmlCompute", created=True, changes=())
    return ReadyCompute(name=name, kind="AmlCompute", created=False, changes=_scale(cluster, wanted, minutes))


def ensure_inference_cluster(
    target: WorkspaceTarget, settings: AksTestSettings | AksProdSettings, purpose: Purpose, minutes: float
) -> ReadyCompute:
    """The AKS cluster of a stage, created when it is not there.

    Raises:
        ComputeError: it cannot be made, or is there with another purpose, which Azure cannot change.
    """
    stage = "aks_test" if purpose == "DEV_TEST" else "aks_prod"
    name = _named(settings.name, f"compute_target.deployment.{stage}.name")
    cluster = find_compute(target, name, "AKS")
    if cluster is None:
        _create(target, name, _aks_configuration(settings, purpose), minutes)
    else:
        check_purpose(cluster, purpose)
    return ReadyCompute(name=name, kind="AKS", created=cluster is None, changes=(), cluster_purpose=purpose)


def _named(name: str | None, option: str) -> str:
    if name is None:
        raise ComputeError("The settings name no compute target for this step.", f"Set {option}.")
    return name


def find_compute(target: WorkspaceTarget, name: str, kind: Literal["AmlCompute", "AKS"]) -> Any:
    """The compute target of that name; None when there is none.

    Raises:
        ComputeError: it is of another kind, or was not made well.
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
    if found.provisioning_state == "Failed":
        raise ComputeError(
            f"Compute target '{name}' failed to be provisioned: {found.provisioning_errors}.",
            "Delete it in the Azure ML studio, or choose another name in the settings.",
        )
    return found


def _create(target: WorkspaceTarget, name: str, configuration: Any, minutes: float) -> None:
    from azureml.core.compute import ComputeTarget

    report("creating")
    next_step = "Check size, quota and location of the compute target in the settings."
    with explained(ComputeError, f"create compute target '{name}'", next_step):
        cluster = ComputeTarget.create(open_workspace(target), name, configuration)
        _wait(cluster, minutes)
        cluster.refresh_state()
    if cluster.provisioning_state != "Succeeded":
        raise ComputeError(
            f"Compute target '{name}' ended as {cluster.provisioning_state}: {cluster.provisioning_errors}.", next_step
        )
    report("created")


def _wait(cluster: AmlCompute | AksCompute, minutes: float) -> None:
    within(minutes, f"provisioning of compute target '{cluster.name}'", lambda: cluster.wait_for_completion())


def limits_to_change(cluster: AmlCompute, wanted: AmlComputeSettings) -> dict[str, tuple[int, int]]:
    """The limits of a cluster that differ from the settings, each as it is and as it is wanted.

    Raises:
        ComputeError: the size or the priority differs, which Azure cannot change.
    """
    fixed = {"vm_size": wanted.vm_size, "vm_priority": wanted.vm_priority}
    for option, value in fixed.items():
        found = getattr(cluster, option)
        if value is not None and str(found).lower() != value.lower():
            raise ComputeError(
                f"Compute target '{cluster.name}' has {option} {found}, the settings want {value}; "
                "Azure cannot change it.",
                "Delete the cluster in the Azure ML studio, or choose another name or the same value in "
                "compute_target.training.amlcompute.",
            )
    scale = cluster.scale_settings
    limits = {
        "min_nodes": (scale.minimum_node_count, wanted.min_nodes),
        "max_nodes": (scale.maximum_node_count, wanted.max_nodes),
        "idle_seconds_before_scaledown": (scale.idle_seconds_before_scaledown, wanted.idle_seconds_before_scaledown),
    }
    return {name: (old, new) for name, (old, new) in limits.items() if new is not None and old != new}


def _scale(cluster: AmlCompute, wanted: AmlComputeSettings, minutes: float) -> tuple[str, ...]:
    differing = limits_to_change(cluster, wanted)
    if differing:
        report("scaling")
        with explained(ComputeError, f"scale compute target '{cluster.name}'", "Check the limits and the quota."):
            cluster.update(**{name: new for name, (_, new) in differing.items()})
            _wait(cluster, minutes)
    return tuple(f"{name} from {old} to {new}" for name, (old, new) in differing.items())


def _aml_compute_configuration(wanted: AmlComputeSettings) -> Any:
    from azureml.core.compute import AmlCompute

    return AmlCompute.provisioning_configuration(
        vm_size=wanted.vm_size,
        vm_priority=wanted.vm_priority,
        min_nodes=wanted.min_nodes,
        max_nodes=wanted.max_nodes,
        idle_seconds_before_scaledown=wanted.idle_seconds_before_scaledown,
        admin_username=wanted.admin_username,
        admin_user_password=_secret(wanted.admin_user_password),
        admin_user_ssh_key=_secret(wanted.admin_user_ssh_key),
        vnet_resourcegroup_name=wanted.vnet_resource_group_name,
        vnet_name=wanted.vnet_name,
        subnet_name=wanted.subnet_name,
        tags=dict(wanted.tags) or None,
        description=wanted.description,
    )


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


def _secret(value: Any) -> str | None:
    return None if value is None else value.get_secret_value()


ensure_training_compute_task = azure_operation("training compute")(ensure_training_compute)
ensure_inference_cluster_task = azure_operation("inference cluster")(ensure_inference_cluster)
