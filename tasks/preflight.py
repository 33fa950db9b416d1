"""Before the first run on Azure: is all there that it will need? Everything is read, and nothing is changed.

Azure: https://learn.microsoft.com/azure/machine-learning/how-to-manage-quotas, .../how-to-assign-roles.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from settings.workspace import WorkspaceTarget
from tasks.compute import check_virtual_cpus, nodes_of, plain_name
from tasks.errors import MlopsError, http_status, is_login_failure
from tasks.progress import report
from tasks.resource_manager import ResourceManager
from tasks.values import Check

if TYPE_CHECKING:
    from settings import Settings

PROVIDERS = (
    "Microsoft.MachineLearningServices",
    "Microsoft.Storage",
    "Microsoft.KeyVault",
    "Microsoft.Insights",
    "Microsoft.ContainerRegistry",
    "Microsoft.ContainerInstance",
    "Microsoft.ContainerService",
)
"""The workspace, the four resources that it comes with, and the two kinds of service."""

_MACHINE_LEARNING = "Microsoft.MachineLearningServices/workspaces"
ACTIONS = (
    f"{_MACHINE_LEARNING}/read",
    f"{_MACHINE_LEARNING}/computes/write",
    f"{_MACHINE_LEARNING}/environments/write",
    f"{_MACHINE_LEARNING}/experiments/runs/submit/action",
    f"{_MACHINE_LEARNING}/models/write",
    f"{_MACHINE_LEARNING}/services/aci/write",
    f"{_MACHINE_LEARNING}/services/aks/write",
    f"{_MACHINE_LEARNING}/services/aks/listkeys/action",
)
CREATION_ACTIONS = (f"{_MACHINE_LEARNING}/write", "Microsoft.Resources/deployments/write")
"""What the login must be allowed besides when the workspace is not there yet."""

_API_VERSIONS = {
    "subscriptions": "2020-01-01",
    "providers": "2021-04-01",
    "groups": "2021-04-01",
    "permissions": "2018-07-01",
    "workspaces": "2021-07-01",
    "machines": "2021-07-01",
}

_UNLIMITED = -1


def preflight(target: WorkspaceTarget, settings: Settings) -> Iterator[Check]:
    """Check one thing after the other; each says what it has found as soon as it knows."""
    manager = ResourceManager(target)
    checks: tuple[tuple[str, Callable[[], str]], ...] = (
        ("login", lambda: _login(manager)),
        ("subscription", lambda: _subscription(manager, target)),
        ("resource providers", lambda: _providers(manager)),
        ("workspace", lambda: _workspace(manager, target, settings.workspace.create_if_missing)),
        ("roles", lambda: _roles(manager, target)),
        ("quota for training", lambda: _training_quota(manager, target, settings)),
        ("quota for serving", lambda: _serving_quota(manager, target, settings)),
        ("names", lambda: _names(manager, target, settings)),
    )
    for name, check in checks:
        report(name)
        found = _result(name, check)
        yield found
        if name == "login" and found.result != "passed":
            reason = "could not be checked: there is no login"
            yield from (Check(name=rest, result="unknown", detail=reason) for rest, _ in checks[1:])
            return


def _result(name: str, check: Callable[[], str]) -> Check:
    import requests

    try:
        return Check(name=name, result="passed", detail=check())
    except MlopsError as error:
        return Check(name=name, result="missing", detail=error.message, next_step=error.next_step)
    except (requests.RequestException, KeyError, ValueError) as error:
        return Check(name=name, result="unknown", detail=f"could not be checked: {_why(error)}")


def _why(error: Exception) -> str:
    status = http_status(error)
    if status in (401, 403):
        return f"the login may not read this (HTTP {status})"
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _login(manager: ResourceManager) -> str:
    import jwt
    import requests

    try:
        token = manager.token()
    except requests.RequestException as error:
        raise MlopsError(
            f"Azure's login gives no answer: {_why(error)}.", "Check the network and the proxy."
        ) from error
    except Exception as error:
        if not is_login_failure(error):
            raise
        raise MlopsError(
            "There is no login to Azure, or it is refused.",
            "Run `az login`, or set AZURE_CREDENTIALS, or AZURE_CLIENT_ID, AZURE_TENANT_ID and AZURE_CLIENT_SECRET.",
        ) from error
    claims = jwt.decode(token, options={"verify_signature": False})  # shown, and nothing is decided by it
    names = (claims.get(name) for name in ("upn", "unique_name", "app_displayname", "name", "appid", "oid"))
    return f"logged in as {next(filter(None, names), 'somebody')}"


def _subscription(manager: ResourceManager, target: WorkspaceTarget) -> str:
    seen = {each["subscriptionId"]: each for each in manager.list("/subscriptions", _API_VERSIONS["subscriptions"])}
    found = seen.get(target.subscription_id)
    if found is None:
        raise MlopsError(
            f"The login does not see subscription {target.subscription_id}; it sees {', '.join(seen) or 'none'}.",
            "Correct SUBSCRIPTION_ID, or give the login a role in the subscription.",
        )
    if found.get("state") not in ("Enabled", None):
        raise MlopsError(
            f"Subscription {target.subscription_id} is {found['state']}.", "Enable it in the portal, or use another."
        )
    return f"{found.get('displayName')} ({target.subscription_id})"


def _providers(manager: ResourceManager) -> str:
    states = {}
    for namespace in PROVIDERS:
        provider = manager.get(f"{manager.subscription}/providers/{namespace}", _API_VERSIONS["providers"]) or {}
        states[namespace] = provider.get("registrationState", "not there")
    lacking = [namespace for namespace, state in states.items() if state != "Registered"]
    if lacking:
        raise MlopsError(
            f"Of the resource providers, {', '.join(f'{name} is {states[name]}' for name in lacking)}.",
            " && ".join(f"az provider register --namespace {name} --wait" for name in lacking),
        )
    return f"all {len(PROVIDERS)} are registered"


def _workspace_at(manager: ResourceManager, target: WorkspaceTarget) -> dict[str, Any] | None:
    return manager.get(f"{manager.group}/providers/{_MACHINE_LEARNING}/{target.name}", _API_VERSIONS["workspaces"])


def _workspace(manager: ResourceManager, target: WorkspaceTarget, create_if_missing: bool) -> str:
    found = _workspace_at(manager, target)
    if found is not None:
        return f"{target.name} is there, in {found['location']}"
    if not create_if_missing:
        raise MlopsError(
            f"There is no workspace '{target.name}' in resource group '{target.resource_group}'.",
            "Correct the names, or set workspace.create_if_missing to true.",
        )
    places = _places(manager)
    if plain_name(target.location or "") not in places:
        raise MlopsError(
            f"Azure ML has no region '{target.location}'; it has {', '.join(places)}.", "Correct workspace.location."
        )
    return f"{target.name} is not there; the first run creates it in {target.location}"


def _places(manager: ResourceManager) -> list[str]:
    path = f"{manager.subscription}/providers/Microsoft.MachineLearningServices"
    provider = manager.get(path, _API_VERSIONS["providers"]) or {}
    types = {each["resourceType"]: each for each in provider["resourceTypes"]}
    return [plain_name(location) for location in types["workspaces"]["locations"]]


def _roles(manager: ResourceManager, target: WorkspaceTarget) -> str:
    workspace, scope = _workspace_at(manager, target), manager.group
    if manager.get(manager.group, _API_VERSIONS["groups"]) is None:
        scope = manager.subscription
    path = f"{scope}/providers/Microsoft.Authorization/permissions"
    permissions = list(manager.list(path, _API_VERSIONS["permissions"]))
    needed = ACTIONS if workspace is not None else (*ACTIONS, *CREATION_ACTIONS)
    lacking = [action for action in needed if not allows(permissions, action)]
    if lacking:
        raise MlopsError(
            f"The login has no role in {scope} that allows {', '.join(lacking)}.",
            f"az role assignment create --assignee LOGIN --role Contributor --scope {scope}",
        )
    return f"allow all {len(needed)} kinds of action that a run takes, in {scope}"


def allows(permissions: Iterable[Mapping[str, Sequence[str]]], action: str) -> bool:
    """Whether a role among ``permissions`` allows ``action`` and does not take it back.

    https://learn.microsoft.com/azure/role-based-access-control/role-definitions#actions
    """

    def named(patterns: Sequence[str]) -> bool:
        return any(fnmatchcase(action.lower(), pattern.lower()) for pattern in patterns)

    return any(named(each["actions"]) and not named(each.get("notActions") or ()) for each in permissions)


def _sizes(manager: ResourceManager, location: str) -> dict[str, dict[str, Any]]:
    path = f"{manager.subscription}/providers/Microsoft.MachineLearningServices/locations/{location}/vmSizes"
    page = manager.get(path, _API_VERSIONS["machines"]) or {}
    return {size["name"].lower(): size for size in page.get("value") or page["amlCompute"]}


def _size(sizes: Mapping[str, dict[str, Any]], name: str, location: str) -> dict[str, Any]:
    size = sizes.get(name.lower())
    if size is None:
        raise MlopsError(f"There is no size {name} in {location}.", "Choose another vm_size under compute_target.")
    return size


def _usages(manager: ResourceManager, provider: str, location: str) -> dict[str, dict[str, Any]]:
    path = f"{manager.subscription}/providers/{provider}/locations/{location}/usages"
    version = _API_VERSIONS["machines"]
    return {usage["name"]["value"]: usage for usage in manager.list(path, version)}


def _computes(manager: ResourceManager, target: WorkspaceTarget) -> dict[str, dict[str, Any]]:
    """The compute targets of the workspace by name; none when it is not there."""
    path = f"{manager.group}/providers/{_MACHINE_LEARNING}/{target.name}/computes"
    return {compute["name"].lower(): compute for compute in manager.list(path, _API_VERSIONS["workspaces"])}


def _location(manager: ResourceManager, target: WorkspaceTarget) -> str:
    found = _workspace_at(manager, target)
    return plain_name((found["location"] if found else target.location) or "")


def _training_quota(manager: ResourceManager, target: WorkspaceTarget, settings: Settings) -> str:
    kind = settings.compute_target.compute_target_to_use_for_training
    if kind != "amlcompute":
        return f"not needed: {kind} is a machine of your own"
    wanted, location = settings.compute_target.training.amlcompute, _location(manager, target)
    size = _size(_sizes(manager, location), wanted.vm_size, location)
    if wanted.name.lower() in _computes(manager, target):
        return f"cluster {wanted.name} is there already"
    usages = _usages(manager, "Microsoft.MachineLearningServices", location)
    priority = "LowPriority" if wanted.vm_priority == "lowpriority" else "Dedicated"
    series = size["family"].removeprefix("standard").removesuffix("Family")
    names = (f"Standard {series} Family Cluster {priority} vCPUs", f"Total Cluster {priority} Regional vCPUs")
    cpus = wanted.max_nodes * size["vCPUs"]
    for name in names:
        _fits(usages[name], cpus, f"{wanted.max_nodes} nodes of {wanted.vm_size} ({wanted.name})", "max_nodes")
    return f"{cpus} vCPUs for {wanted.max_nodes} nodes of {wanted.vm_size} are free in {location}"


def _serving_quota(manager: ResourceManager, target: WorkspaceTarget, settings: Settings) -> str:
    clusters, location = settings.compute_target.deployment, _location(manager, target)
    sizes, existing = _sizes(manager, location), _computes(manager, target)
    needed: Counter[str] = Counter()
    for cluster in (clusters.aks_test, clusters.aks_prod):
        nodes, name = nodes_of(cluster)
        size = _size(sizes, name, location)
        if cluster is clusters.aks_prod:
            check_virtual_cpus(cluster, size["vCPUs"])
        if cluster.name.lower() not in existing:
            needed[size["family"]] += nodes * size["vCPUs"]
    if not needed:
        return f"clusters {clusters.aks_test.name} and {clusters.aks_prod.name} are there already"
    usages = _usages(manager, "Microsoft.Compute", location)
    for family, cpus in needed.items():
        _fits(usages[family], cpus, "The AKS clusters that are to be created", "agent_count")
    _fits(usages["cores"], needed.total(), "The AKS clusters that are to be created", "agent_count")
    return f"{needed.total()} vCPUs for the AKS clusters are free in {location}"


def _fits(usage: Mapping[str, Any], cpus: int, what: str, option: str) -> None:
    limit, free = usage["limit"], usage["limit"] - usage["currentValue"]
    if limit != _UNLIMITED and cpus > free:
        raise MlopsError(
            f"{what} need {cpus} vCPUs of '{usage['name']['localizedValue']}', of which {free} of {limit} are free.",
            f"Ask Azure for more (portal, Quotas), lower {option}, or choose another vm_size under compute_target.",
        )


def _names(manager: ResourceManager, target: WorkspaceTarget, settings: Settings) -> str:
    if _workspace_at(manager, target) is None:
        return "nothing is in their way: the workspace is not there yet"
    computes, clusters = _computes(manager, target), settings.compute_target.deployment
    wanted = {clusters.aks_test.name: "AKS", clusters.aks_prod.name: "AKS"}
    if settings.compute_target.compute_target_to_use_for_training == "amlcompute":
        wanted[settings.compute_target.training.amlcompute.name] = "AmlCompute"
    for name, kind in wanted.items():
        found = computes.get(name.lower(), {}).get("properties", {}).get("computeType", kind)
        if found != kind:
            raise MlopsError(
                f"Compute target '{name}' is there as {found}, and the settings want {kind}.",
                "Choose another name under compute_target.",
            )
    from tasks.evaluation import find_service
    from tasks.workspace import open_workspace

    deployment, workspace = settings.deployment, open_workspace(target)
    for stage, kind in (("dev", "ACI"), ("test", "AKS"), ("prod", "AKS")):
        name = getattr(deployment, f"{stage}_deployment").name
        service = find_service(workspace, name)
        if service is not None and service.compute_type != kind:
            raise MlopsError(
                f"Service '{name}' is there on {service.compute_type}, and the {stage} stage is on {kind}.",
                f"Choose another deployment.{stage}_deployment.name, or delete the service.",
            )
    return "none of them is taken by a resource of another kind"
