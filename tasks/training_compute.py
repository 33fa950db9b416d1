"""The compute target that trains: got, compared with the settings, and created, changed or attached where they differ.

Azure: https://learn.microsoft.com/azure/machine-learning/how-to-create-attach-compute-studio; SDK:
``azureml.core.compute.AmlCompute``, ``DsvmCompute`` and ``RemoteCompute``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from settings.compute_target import AmlComputeSettings, ComputeTargetSettings, DsvmSettings, RemoteComputeSettings
from settings.workspace import WorkspaceTarget
from tasks.compute import ComputeType, find_compute, look_up, provision
from tasks.errors import ComputeError
from tasks.operation import azure_operation, explained
from tasks.progress import report
from tasks.values import ReadyCompute
from tasks.waiting import poll
from tasks.workspace import open_workspace

if TYPE_CHECKING:
    from azureml.core.compute import AmlCompute
    from pydantic import SecretStr

WantedCompute = AmlComputeSettings | DsvmSettings | RemoteComputeSettings


class Difference(NamedTuple):
    """An option of a compute target that is there with another value."""

    option: str
    found: object
    wanted: object

    def __str__(self) -> str:
        return f"{self.option} from {self.found} to {self.wanted}"


def ensure_training_compute(target: WorkspaceTarget, settings: ComputeTargetSettings, minutes: float) -> ReadyCompute:
    """The compute target that the settings choose for training, as they want it.

    It is created (AmlCompute, DSVM) or attached (RemoteCompute) when it is not there; changed where Azure can; and
    where Azure cannot, made anew if ``recreate_on_change`` allows that.

    Args:
        minutes: the deadline for provisioning.

    Raises:
        ComputeError: it cannot be made or reached, or is there with what Azure cannot change.
    """
    wanted = wanted_compute(settings)
    kind = compute_type(wanted)
    found = find_training_compute(target, wanted)
    if found is None:
        _make(target, wanted, minutes)
        return ReadyCompute(name=wanted.name, kind=kind, created=True, changes=())
    fixed = tuple(fixed_differences(found, wanted))
    if fixed:
        if not settings.training.recreate_on_change:
            raise cannot_change(wanted, fixed)
        _remove(target, found, wanted, minutes)
        _make(target, wanted, minutes)
        return ReadyCompute(name=wanted.name, kind=kind, created=True, changes=_sentences("made anew: ", fixed))
    limits = tuple(changeable_differences(found, wanted))
    if limits:
        report("changing")
        provision(lambda: _update(found, limits), wanted.name, minutes, "change", "Check the limits and the quota.")
    return ReadyCompute(name=wanted.name, kind=kind, created=False, changes=_sentences("", limits))


def wanted_compute(settings: ComputeTargetSettings) -> WantedCompute:
    """The section of the compute target that is used for training."""
    wanted: WantedCompute = getattr(settings.training, settings.compute_target_to_use_for_training)
    return wanted


def compute_type(wanted: WantedCompute) -> ComputeType:
    """The type that Azure gives such a compute target."""
    return "AmlCompute" if isinstance(wanted, AmlComputeSettings) else "VirtualMachine"


def find_training_compute(target: WorkspaceTarget, wanted: WantedCompute) -> Any:
    """The compute target of the settings; None when it has to be made, as one that could not be attached has to.

    Raises:
        ComputeError: it is of another kind, or was not made well.
    """
    if not isinstance(wanted, RemoteComputeSettings):
        return find_compute(target, wanted.name, compute_type(wanted))
    found = look_up(target, wanted.name, "VirtualMachine")
    return None if found is None or found.provisioning_state == "Failed" else found


def cannot_change(wanted: WantedCompute, fixed: tuple[Difference, ...]) -> ComputeError:
    """What to say of differences that Azure cannot change."""
    differences = " and ".join(f"{option} {found}, the settings want {value}" for option, found, value in fixed)
    return ComputeError(
        f"Compute target '{wanted.name}' has {differences}; Azure cannot change it.",
        "Set compute_target.training.recreate_on_change to have it made anew, or choose another name.",
    )


def fixed_differences(found: Any, wanted: WantedCompute) -> Iterator[Difference]:
    """Where a compute target differs from the settings in what Azure cannot change. What they leave open never does."""
    if isinstance(wanted, AmlComputeSettings):
        options = {
            "vm_size": found.vm_size,
            "vm_priority": found.vm_priority,
            "vnet_resource_group_name": found.vnet_resourcegroup_name,
            "vnet_name": found.vnet_name,
            "subnet_name": found.subnet_name,
            "admin_username": found.admin_username,
        }
    elif isinstance(wanted, DsvmSettings):
        options = {"vm_size": found.vm_size, "location": found.cluster_location, "ssh_port": found.ssh_port}
    else:
        options = {"address": found.address, "ssh_port": found.ssh_port}
    for option, value in options.items():
        given = getattr(wanted, option)
        if given is not None and str(value).lower() != str(given).lower():
            yield Difference(option, value, given)


def changeable_differences(found: Any, wanted: WantedCompute) -> Iterator[Difference]:
    """Where a cluster differs from the settings in what Azure can change; a machine of its own has nothing of that."""
    if not isinstance(wanted, AmlComputeSettings):
        return
    scale = found.scale_settings
    for option, value in (
        ("min_nodes", scale.minimum_node_count),
        ("max_nodes", scale.maximum_node_count),
        ("idle_seconds_before_scaledown", scale.idle_seconds_before_scaledown),
    ):
        given = getattr(wanted, option)
        if given is not None and value != given:
            yield Difference(option, value, given)


def _sentences(prefix: str, differences: tuple[Difference, ...]) -> tuple[str, ...]:
    return tuple(f"{prefix}{difference}" for difference in differences)


def _update(cluster: AmlCompute, limits: tuple[Difference, ...]) -> AmlCompute:
    cluster.update(**{limit.option: limit.wanted for limit in limits})
    return cluster


def _make(target: WorkspaceTarget, wanted: WantedCompute, minutes: float) -> None:
    from azureml.core.compute import ComputeTarget

    workspace = open_workspace(target)
    if isinstance(wanted, RemoteComputeSettings):
        report("attaching")
        provision(
            lambda: ComputeTarget.attach(workspace, wanted.name, attach_configuration(wanted)),
            wanted.name,
            minutes,
            "attach",
            "Check address, ssh_port, username and password or key in compute_target.training.remotecompute.",
        )
        report("attached")
        return
    report("creating")
    provision(
        lambda: ComputeTarget.create(workspace, wanted.name, provisioning_configuration(wanted)),
        wanted.name,
        minutes,
        "create",
        "Check size, quota and location of the compute target in the settings.",
    )
    report("created")


def _remove(target: WorkspaceTarget, found: Any, wanted: WantedCompute, minutes: float) -> None:
    report("removing")
    name = found.name
    with explained(ComputeError, f"remove compute target '{name}'", "Remove it in the Azure ML studio."):
        if isinstance(wanted, RemoteComputeSettings):
            found.detach()
        else:
            found.delete()
        poll(
            lambda: look_up(target, name, compute_type(wanted)),
            lambda left: left is None,
            what=f"removal of compute target '{name}'",
            minutes=minutes,
            describe=lambda _: "removing",
        )


def provisioning_configuration(wanted: AmlComputeSettings | DsvmSettings) -> Any:
    """What ``ComputeTarget.create`` takes."""
    from azureml.core.compute import AmlCompute, DsvmCompute

    if isinstance(wanted, DsvmSettings):
        return DsvmCompute.provisioning_configuration(
            vm_size=wanted.vm_size, ssh_port=str(wanted.ssh_port), location=wanted.location
        )
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


def attach_configuration(wanted: RemoteComputeSettings) -> Any:
    """What ``ComputeTarget.attach`` takes: one way to log in, a key or a password, as ``use_ssh_auth`` says."""
    from azureml.core.compute import RemoteCompute

    if wanted.use_ssh_auth:
        login: dict[str, str | None] = {
            "private_key_file": str(Path(wanted.private_key_file or "").expanduser()),
            "private_key_passphrase": _secret(wanted.private_key_passphrase) or "",
        }
    else:
        login = {"password": _secret(wanted.password)}
    return RemoteCompute.attach_configuration(
        username=wanted.username, address=wanted.address, ssh_port=wanted.ssh_port, **login
    )


def _secret(value: SecretStr | None) -> str | None:
    return None if value is None else value.get_secret_value()


ensure_training_compute_task = azure_operation("training compute")(ensure_training_compute)
