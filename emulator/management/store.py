"""What Azure Resource Manager keeps: resource groups, workspaces and compute targets."""

from __future__ import annotations

import uuid
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from emulator.certificates import check_certificate
from emulator.errors import ServiceError, bad_request, not_emulated, not_found
from emulator.management.defaults import SUBSCRIPTION
from emulator.management.scaling import Scale, duration_seconds
from emulator.management.ssh import Account
from emulator.management.virtual_machines import virtual_cpus
from emulator.state import Record, State, utc_now

_FAST_PROD_CPUS = 12  # what Azure ML asks of a FAST_PROD cluster in all

ClusterPurpose = Literal["FastProd", "DevTest"]


class Workspace(BaseModel):
    """One workspace (``azureml.core.Workspace``). ``id`` is new for each creation, so that clients' caches of a
    deleted one are never taken for it."""

    model_config = ConfigDict(frozen=True)

    id: str
    subscription: str
    resource_group: str
    name: str
    location: str
    friendly_name: str
    tags: dict[str, str] = {}
    created: str

    @property
    def arm_id(self) -> str:
        return (
            f"/subscriptions/{self.subscription}/resourceGroups/{self.resource_group}"
            f"/providers/Microsoft.MachineLearningServices/workspaces/{self.name}"
        )


class Compute(BaseModel):
    """One compute target (``azureml.core.compute.ComputeTarget``).

    ``inner`` is the type's own part, ``properties.properties`` on the wire.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    compute_type: str
    location: str
    description: str | None = None
    tags: dict[str, str] = {}
    resource_id: str | None = None
    attached: bool = False
    inner: dict[str, Any] = {}
    state: str = "Succeeded"
    errors: list[dict[str, Any]] = []
    created: str
    modified: str

    @property
    def scale(self) -> Scale:
        """How many nodes there may be; a virtual machine is one that stays."""
        settings = self.inner.get("scaleSettings")
        if settings is None:
            return Scale(1, 1, 0)
        idle = duration_seconds(settings["nodeIdleTimeBeforeScaleDown"])
        return Scale(int(settings["minNodeCount"]), int(settings["maxNodeCount"]), idle or 0.0)

    @property
    def low_priority(self) -> bool:
        """Whether Azure may take its nodes away."""
        return str(self.inner.get("vmPriority") or "").lower() == "lowpriority"

    @property
    def purpose(self) -> ClusterPurpose | None:
        return self.inner.get("clusterPurpose")


def check_subscription(subscription: str) -> None:
    """
    Raises:
        ServiceError: 404 for any subscription but the one that the emulator has.
    """
    if subscription != SUBSCRIPTION:
        raise ServiceError(
            404,
            "SubscriptionNotFound",
            f"Subscription '{subscription}' was not found: the emulator has {SUBSCRIPTION}.",
        )


def _whole_number(owner: Record, name: str, default: int) -> int:
    value = owner.get(name)
    if value is None:
        return default
    if not isinstance(value, int) or value < 0:
        raise bad_request(f"{name} is {value!r}: it is a whole number and not negative.")
    return value


def _aml_compute(inner: Record) -> Record:
    scale = inner.get("scaleSettings") or {}
    least, most = _whole_number(scale, "minNodeCount", 0), _whole_number(scale, "maxNodeCount", 1)
    if least > most:
        raise bad_request(f"minNodeCount {least} is more than maxNodeCount {most}.")
    idle = scale.get("nodeIdleTimeBeforeScaleDown") or "PT120S"
    if duration_seconds(idle) is None:
        raise bad_request(f"nodeIdleTimeBeforeScaleDown is {idle!r}: it is an ISO 8601 duration, for example PT120S.")
    if not inner.get("vmSize"):
        raise bad_request("vmSize is missing: an AmlCompute cluster has a size of its nodes.")
    return {
        "subnet": None,
        **inner,
        "vmPriority": inner.get("vmPriority") or "Dedicated",
        "scaleSettings": {
            "minNodeCount": least,
            "maxNodeCount": most,
            "nodeIdleTimeBeforeScaleDown": idle,
        },
    }


def _aks(inner: Record) -> Record:
    purpose = inner.get("clusterPurpose") or "FastProd"
    count = _whole_number(inner, "agentCount", 0) or (1 if purpose == "DevTest" else 3)
    size = inner.get("agentVmSize") or "Standard_D3_v2"
    cpus = virtual_cpus(size)
    if purpose == "FastProd" and count * cpus < _FAST_PROD_CPUS:
        raise bad_request(
            f"A FAST_PROD cluster needs at least {_FAST_PROD_CPUS} virtual CPUs: {count} agents of {size} "
            f"with {cpus} each have {count * cpus}. Use more agents, a larger size, or purpose DEV_TEST."
        )
    tls = inner.get("sslConfiguration") or {}
    if tls.get("status") == "Enabled":
        check_certificate(str(tls.get("cert")), str(tls.get("key")))
    return {
        "loadBalancerType": "PublicIp",
        "loadBalancerSubnet": None,
        **inner,
        "clusterPurpose": purpose,
        "agentCount": count,
        "agentVmSize": size,
        "clusterFqdn": "127.0.0.1",
        "systemServices": [{"systemServiceType": "ScoringFrontEnd", "version": "1", "publicIpAddress": "127.0.0.1"}],
    }


def _virtual_machine(inner: Record) -> Record:
    """A DSVM, or a machine that is attached by its address. Its account is kept apart from what can be read."""
    visible = {key: value for key, value in inner.items() if key != "administratorAccount"}
    return {"virtualMachineSize": None, **visible, "address": inner.get("address") or "127.0.0.1"}


_DEFAULTS = {"AmlCompute": _aml_compute, "AKS": _aks, "VirtualMachine": _virtual_machine}
_READY, _FAILED, _CREATING = "Succeeded", "Failed", "Creating"


def _account(inner: Record) -> Record:
    """An ``administratorAccount``, as it is kept.

    Raises:
        ServiceError: 400 for one with which nobody could log in.
    """
    given = inner.get("administratorAccount") or {}
    account = {
        "username": given.get("username"),
        "password": given.get("password") or None,
        "private_key": given.get("privateKeyData") or None,
        "passphrase": given.get("passphrase") or None,
    }
    if not account["username"] or not (account["password"] or account["private_key"]):
        raise bad_request("administratorAccount needs a username, and a password or privateKeyData.")
    return account


def provisioning_error(code: str, message: str) -> Record:
    """One of a compute target's ``provisioning_errors``."""
    return {"error": {"code": code, "message": message, "details": []}}


def _merged(old: Any, new: Any) -> Any:
    if isinstance(old, dict) and isinstance(new, dict):
        return {**old, **{key: _merged(old.get(key), value) for key, value in new.items()}}
    return new


class ManagementStore:
    """Names are found whatever their case, as on Azure."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._groups = state.collection("resource_groups")
        self._workspaces = state.collection("workspaces")
        self._computes = state.collection("computes")
        self._accounts = state.collection("compute_accounts")
        self._failures = state.collection("provisioning_failures")

    def resource_group(self, name: str) -> Record:
        """The resource group of that name.

        Raises:
            ServiceError: 404.
        """
        group = self._groups.get(SUBSCRIPTION, name.lower())
        if group is None:
            raise ServiceError(404, "ResourceGroupNotFound", f"Resource group '{name}' could not be found.")
        return group

    def put_resource_group(self, name: str, location: str, tags: dict[str, str]) -> Record:
        return self._groups.put(SUBSCRIPTION, name.lower(), {"name": name, "location": location, "tags": tags})

    def workspaces(self, resource_group: str | None = None) -> list[Workspace]:
        found = [Workspace.model_validate(record) for record in self._workspaces.all(SUBSCRIPTION)]
        return [ws for ws in found if resource_group is None or ws.resource_group.lower() == resource_group.lower()]

    def find_workspace(self, resource_group: str, name: str) -> Workspace | None:
        record = self._workspaces.get(SUBSCRIPTION, f"{resource_group}/{name}".lower())
        return None if record is None else Workspace.model_validate(record)

    def workspace(self, resource_group: str, name: str) -> Workspace:
        """The workspace of that name.

        Raises:
            ServiceError: 404.
        """
        found = self.find_workspace(resource_group, name)
        if found is None:
            have = ", ".join(f"{ws.resource_group}/{ws.name}" for ws in self.workspaces()) or "none"
            raise ServiceError(
                404,
                "ResourceNotFound",
                f"Workspace '{name}' was not found in resource group '{resource_group}'. The emulator has: {have}.",
            )
        return found

    def put_workspace(
        self, resource_group: str, name: str, location: str, friendly_name: str | None, tags: dict[str, str]
    ) -> Workspace:
        """Create a workspace, or replace what can be changed of the one that is there.

        Raises:
            ServiceError: 404 when there is no such resource group.
        """
        group = self.resource_group(resource_group)
        old = self.find_workspace(resource_group, name)
        workspace = Workspace(
            id=old.id if old else str(uuid.uuid4()),
            subscription=SUBSCRIPTION,
            resource_group=group["name"],
            name=old.name if old else name,
            location=location,
            friendly_name=friendly_name or name,
            tags=tags,
            created=old.created if old else utc_now(),
        )
        self._workspaces.put(SUBSCRIPTION, f"{resource_group}/{name}".lower(), workspace.model_dump())
        return workspace

    def delete_workspace(self, workspace: Workspace) -> None:
        """Remove a workspace and every record of it, of whatever service."""
        self._state.delete_scope(workspace.id)
        self._workspaces.delete(SUBSCRIPTION, f"{workspace.resource_group}/{workspace.name}".lower())

    def computes(self, workspace: Workspace) -> list[Compute]:
        return [Compute.model_validate(record) for record in self._computes.all(workspace.id)]

    def find_compute(self, workspace: Workspace, name: str) -> Compute | None:
        record = self._computes.get(workspace.id, name.lower())
        return None if record is None else Compute.model_validate(record)

    def compute(self, workspace: Workspace, name: str) -> Compute:
        """The compute target of that name.

        Raises:
            ServiceError: 404.
        """
        found = self.find_compute(workspace, name)
        if found is None:
            raise not_found("Compute target", name)
        return found

    def put_compute(self, workspace: Workspace, name: str, body: Record) -> Compute:
        """Create a compute target, or change the one that is there by what ``body`` has.

        Raises:
            ServiceError: 400 for a type that is not emulated, or a size, count or purpose that Azure refuses.
        """
        old = self.find_compute(workspace, name)
        properties = body.get("properties") or {}
        compute_type = properties.get("computeType") or (old.compute_type if old else None)
        if compute_type not in _DEFAULTS:
            raise not_emulated(f"compute type {compute_type!r}, only {', '.join(_DEFAULTS)}")
        if old is not None and old.compute_type != compute_type:
            raise ServiceError(
                409,
                "Conflict",
                f"Compute target '{name}' is {old.compute_type} and cannot become {compute_type}: choose another name, "
                "or delete it first.",
            )
        given = properties.get("properties") or {}
        if compute_type == "VirtualMachine" and properties.get("resourceId"):
            raise not_emulated("attaching a virtual machine by its resource id, only by its address")
        attached = old.attached if old else bool(given.get("address"))
        account = _account(given) if compute_type == "VirtualMachine" and attached else None
        failure = self._failures.get(workspace.id, name.lower()) if old is None else None
        inner = _merged(old.inner if old else {}, given)
        now = utc_now()
        compute = Compute(
            name=old.name if old else name,
            compute_type=compute_type,
            location=body.get("location") or (old.location if old else workspace.location),
            description=properties.get("description") or (old.description if old else None),
            tags=body["tags"] if body.get("tags") is not None else (old.tags if old else {}),
            resource_id=properties.get("resourceId"),
            attached=attached or bool(properties.get("resourceId")),
            inner=_DEFAULTS[compute_type](inner),
            # Whether an account is good shows when somebody logs in with it.
            state=_CREATING if account else _READY,
            created=old.created if old else now,
            modified=now,
        )
        if account is not None:
            self._accounts.put(workspace.id, name.lower(), account)
        if failure is not None:
            self._failures.delete(workspace.id, name.lower())
            return self.provisioned(workspace, compute, [provisioning_error("ProvisioningFailed", failure["message"])])
        self._computes.put(workspace.id, name.lower(), compute.model_dump())
        return compute

    def provisioned(self, workspace: Workspace, compute: Compute, errors: list[Record]) -> Compute:
        """End the creation of a compute target: it is ready, or has failed with errors."""
        done = compute.model_copy(update={"state": _FAILED if errors else _READY, "errors": errors})
        self._computes.put(workspace.id, compute.name.lower(), done.model_dump())
        return done

    def fail_next(self, workspace: Workspace, name: str, message: str) -> None:
        """Have the next creation of a compute target of that name fail with the message."""
        self._failures.put(workspace.id, name.lower(), {"message": message})

    def account(self, workspace: Workspace, name: str) -> Account | None:
        """The account of an attached machine; ``None`` for any other compute target."""
        record = self._accounts.get(workspace.id, name.lower())
        return None if record is None else Account.model_validate(record)

    def delete_compute(self, workspace: Workspace, name: str) -> None:
        self.compute(workspace, name)
        self._computes.delete(workspace.id, name.lower())
        self._accounts.delete(workspace.id, name.lower())
