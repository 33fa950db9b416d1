"""Azure Resource Manager: subscriptions, resource groups, workspaces and compute targets."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any

from aiohttp import web

from emulator.errors import ServiceError, bad_request, not_found
from emulator.management.defaults import DEFAULT_LOCATION, DEFAULT_RESOURCE_GROUP, DEFAULT_WORKSPACE, SUBSCRIPTION
from emulator.management.entitlements import PROVIDERS, cluster_usages, machine_usages, provider_payload
from emulator.management.payloads import (
    compute_payload,
    credentials_payload,
    node_payload,
    resource_group_payload,
    vm_size_payload,
    workspace_payload,
)
from emulator.management.ssh import Account, LoginError, connect
from emulator.management.store import (
    Compute,
    ManagementStore,
    Workspace,
    provisioning_error,
)
from emulator.management.virtual_machines import SIZES
from emulator.routing import Request, Route, answer
from emulator.service import Service

if TYPE_CHECKING:
    from emulator.server import Emulator

_LONG_POLL_SECONDS = 20.0  # the SDK itself asks every 5 seconds
_GROUP = "/subscriptions/{subscription}/resourcegroups/{resource_group}"
_DEPLOYMENTS = _GROUP + "/providers/Microsoft.Resources/deployments"
_WORKSPACES = "/providers/Microsoft.MachineLearningServices/workspaces"
_PERMISSIONS = "/providers/Microsoft.Authorization/permissions"
_LOCATION = "/subscriptions/{subscription}/providers/%s/locations/{location}"


class ManagementService(Service):
    """The control plane. A fresh state directory has one workspace, so that a plain script finds one."""

    def __init__(self, emulator: Emulator) -> None:
        super().__init__(emulator)
        self._logins: set[asyncio.Task[None]] = set()

    @property
    def store(self) -> ManagementStore:
        return ManagementStore(self.state)

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/subscriptions", self.subscriptions),
            Route("GET", "/subscriptions/{subscription}/resources", self.resources),
            Route("GET", "/subscriptions/{subscription}" + _WORKSPACES, self.workspaces),
            Route("GET", "/subscriptions/{subscription}/providers/{namespace}", self.provider),
            Route("POST", "/subscriptions/{subscription}/providers/{namespace}/register", self.register_provider),
            Route("POST", "/subscriptions/{subscription}/providers/{namespace}/unregister", self.unregister_provider),
            Route("GET", "/subscriptions/{subscription}" + _PERMISSIONS, self.permissions),
            Route("GET", _GROUP + _PERMISSIONS, self.permissions),
            Route("GET", "/subscriptions/{subscription}/providers/Microsoft.Resources/deployments", self.deployments),
            Route("GET", _GROUP, self.resource_group),
            Route("HEAD", _GROUP, self.has_resource_group),
            Route("PUT", _GROUP, self.put_resource_group),
            Route("GET", _DEPLOYMENTS, self.deployments),
            Route("PUT", _DEPLOYMENTS + "/{deployment}", self.deploy),
            Route("GET", _DEPLOYMENTS + "/{deployment}/operations", self.deployment_operations),
            Route("GET", _GROUP + "/deployments/{deployment}/operations", self.deployment_operations),
            Route("GET", _GROUP + _WORKSPACES, self.workspaces),
            Route("GET", "/{WS}", self.get_workspace),
            Route("GET", "/rp/workspaces/{WS}", self.get_workspace),
            Route("PUT", "/{WS}", self.put_workspace, workspace_must_exist=False),
            Route("PATCH", "/{WS}", self.patch_workspace),
            Route("DELETE", "/{WS}", self.delete_workspace),
            Route("GET", "/{WS}/computes", self.computes),
            Route("GET", "/rp/workspaces/{WS}/computes", self.computes),
            Route("GET", "/{WS}/computes/{compute}", self.get_compute),
            Route("GET", "/rp/workspaces/{WS}/computes/{compute}", self.get_compute),
            Route("PUT", "/{WS}/computes/{compute}", self.put_compute),
            Route("PATCH", "/{WS}/computes/{compute}", self.patch_compute),
            Route("DELETE", "/{WS}/computes/{compute}", self.delete_compute),
            Route("POST", "/{WS}/computes/{compute}/listNodes", self.nodes),
            Route("POST", "/{WS}/computes/{compute}/listKeys", self.keys),
            Route("GET", "/{WS}/operations/{operation}", self.operation),
            Route("GET", _LOCATION % "Microsoft.MachineLearningServices" + "/vmSizes", self.vm_sizes),
            Route("GET", _LOCATION % "Microsoft.MachineLearningServices" + "/usages", self.cluster_usages),
            Route("GET", _LOCATION % "Microsoft.Compute" + "/usages", self.machine_usages),
        ]

    async def start(self) -> None:
        for workspace in self.store.workspaces():
            for compute in self.store.computes(workspace):
                if compute.state == "Creating":
                    error = provisioning_error("Interrupted", "The emulator ended while it logged in: attach it again.")
                    self.store.provisioned(workspace, compute, [error])
        if not self.store.workspaces():
            self.store.put_resource_group(DEFAULT_RESOURCE_GROUP, DEFAULT_LOCATION, {})
            self.store.put_workspace(DEFAULT_RESOURCE_GROUP, DEFAULT_WORKSPACE, DEFAULT_LOCATION, None, {})

    async def stop(self) -> None:
        for login in self._logins:
            login.cancel()
        await asyncio.gather(*self._logins, return_exceptions=True)

    async def subscriptions(self, _: Request) -> web.Response:
        subscription = {
            "id": f"/subscriptions/{SUBSCRIPTION}",
            "subscriptionId": SUBSCRIPTION,
            "displayName": "Emulator",
            "state": "Enabled",
            "tenantId": "adfs",
        }
        return answer({"value": [subscription]})

    async def provider(self, request: Request) -> web.Response:
        return answer(self._provider(request.params["namespace"]))

    async def register_provider(self, request: Request) -> web.Response:
        return self._set_registered(request, True)

    async def unregister_provider(self, request: Request) -> web.Response:
        return self._set_registered(request, False)

    def _set_registered(self, request: Request, registered: bool) -> web.Response:
        namespace = self._provider(request.params["namespace"])["namespace"]
        self.state.collection("providers").put(SUBSCRIPTION, namespace, {"registered": registered})
        return answer(self._provider(namespace))

    def _provider(self, named: str) -> dict[str, Any]:
        namespace = PROVIDERS.get(named.lower())
        if namespace is None:
            raise ServiceError(404, "InvalidResourceNamespace", f"The resource namespace '{named}' is invalid.")
        kept = self.state.collection("providers").get(SUBSCRIPTION, namespace)
        return provider_payload(namespace, kept is None or kept["registered"])

    async def permissions(self, _: Request) -> web.Response:
        everything: dict[str, list[str]] = {"actions": ["*"], "notActions": [], "dataActions": [], "notDataActions": []}
        return answer({"value": [everything]})

    async def cluster_usages(self, _: Request) -> web.Response:
        return answer({"value": cluster_usages(self._all_computes())})

    async def machine_usages(self, _: Request) -> web.Response:
        return answer({"value": machine_usages(self._all_computes())})

    def _all_computes(self) -> list[tuple[Compute, int]]:
        """The compute targets of all workspaces, each with its number of nodes."""
        found = []
        for workspace in self.store.workspaces():
            for compute in self.store.computes(workspace):
                inner = self._compute(workspace, compute)["properties"]["properties"]
                found.append((compute, int(inner.get("currentNodeCount", inner.get("agentCount", 0)))))
        return found

    async def resources(self, _: Request) -> web.Response:
        return answer({"value": [self._workspace(workspace) for workspace in self.store.workspaces()]})

    async def workspaces(self, request: Request) -> web.Response:
        found = self.store.workspaces(request.params.get("resource_group"))
        return answer({"value": [self._workspace(workspace) for workspace in found]})

    async def resource_group(self, request: Request) -> web.Response:
        return answer(resource_group_payload(self.store.resource_group(request.params["resource_group"])))

    async def has_resource_group(self, request: Request) -> web.Response:
        self.store.resource_group(request.params["resource_group"])
        return web.Response(status=204)

    async def put_resource_group(self, request: Request) -> web.Response:
        body = await request.json()
        group = self.store.put_resource_group(
            request.params["resource_group"], body.get("location") or DEFAULT_LOCATION, body.get("tags") or {}
        )
        return answer(resource_group_payload(group))

    async def deployments(self, _: Request) -> web.Response:
        return answer({"value": []})

    async def deploy(self, request: Request) -> web.Response:
        """The SDK creates a workspace by deploying an ARM template; only the workspace in it is made."""
        body = await request.json()
        made = []
        for resource in _template_resources(body):
            if resource.get("type", "").lower() == "microsoft.machinelearningservices/workspaces":
                properties = resource.get("properties") or {}
                made.append(
                    self.store.put_workspace(
                        request.params["resource_group"],
                        resource["name"],
                        resource.get("location") or DEFAULT_LOCATION,
                        properties.get("friendlyName"),
                        resource.get("tags") or {},
                    )
                )
        deployment = request.params["deployment"]
        self.state.collection("deployments").put(
            request.params["resource_group"].lower(), deployment, {"workspaces": [ws.arm_id for ws in made]}
        )
        payload = {
            "id": f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{request.params['resource_group']}"
            f"/providers/Microsoft.Resources/deployments/{deployment}",
            "name": deployment,
            "properties": {"provisioningState": "Succeeded", "mode": "Incremental"},
        }
        return answer(payload, status=201)

    async def deployment_operations(self, request: Request) -> web.Response:
        record = self.state.collection("deployments").get(
            request.params["resource_group"].lower(), request.params["deployment"]
        )
        if record is None:
            raise not_found("Deployment", request.params["deployment"], "this resource group")
        operations: list[dict[str, Any]] = [
            {
                "id": f"{arm_id}/create",
                "operationId": str(uuid.uuid4()),
                "properties": {
                    "provisioningState": "Succeeded",
                    "duration": "PT1S",
                    "targetResource": {
                        "id": arm_id,
                        "resourceType": "Microsoft.MachineLearningServices/workspaces",
                        "resourceName": arm_id.rpartition("/")[2],
                    },
                },
            }
            for arm_id in record["workspaces"]
        ]
        return answer({"value": operations})

    def _workspace(self, workspace: Workspace) -> dict[str, Any]:
        return workspace_payload(workspace, self.emulator.discovery.url(workspace.id))

    async def get_workspace(self, request: Request) -> web.Response:
        return answer(self._workspace(request.workspace))

    async def put_workspace(self, request: Request) -> web.Response:
        body = await request.json()
        workspace = self.store.put_workspace(
            request.params["resource_group"],
            request.params["workspace"],
            body.get("location") or DEFAULT_LOCATION,
            (body.get("properties") or {}).get("friendlyName"),
            body.get("tags") or {},
        )
        return answer(self._workspace(workspace))

    async def patch_workspace(self, request: Request) -> web.Response:
        body, old = await request.json(), request.workspace
        properties = body.get("properties") or {}
        workspace = self.store.put_workspace(
            old.resource_group,
            old.name,
            old.location,
            properties.get("friendlyName") or old.friendly_name,
            body["tags"] if body.get("tags") is not None else old.tags,
        )
        return answer(self._workspace(workspace))

    async def delete_workspace(self, request: Request) -> web.Response:
        """Azure ends what is going on in the workspace; here, whoever deletes it does that first."""
        workspace = request.workspace
        busy = [f"web service '{service.name}'" for service in self.emulator.services.store.all(workspace.id)]
        busy += [f"run '{run.run_id}'" for run in self.emulator.history.store.runs(workspace) if not run.is_terminal]
        if busy:
            raise ServiceError(
                409,
                "Conflict",
                f"Workspace '{workspace.name}' still has {', '.join(busy)}: delete its web services and cancel its "
                "runs first.",
            )
        self.store.delete_workspace(workspace)
        return web.Response(status=200)

    def _compute(self, workspace: Workspace, compute: Compute) -> dict[str, Any]:
        return compute_payload(workspace, compute, self.emulator.execution.pool(workspace, compute.name).counts())

    async def computes(self, request: Request) -> web.Response:
        found = self.store.computes(request.workspace)
        return answer({"value": [self._compute(request.workspace, compute) for compute in found]})

    async def get_compute(self, request: Request) -> web.Response:
        compute = self.store.compute(request.workspace, request.params["compute"])
        return answer(self._compute(request.workspace, compute))

    async def put_compute(self, request: Request) -> web.Response:
        compute = self.store.put_compute(request.workspace, request.params["compute"], await request.json())
        self.emulator.services.cluster_changed(request.workspace, compute.name)
        account = self.store.account(request.workspace, compute.name)
        if compute.state == "Creating" and account is not None:
            task = asyncio.create_task(self._log_in(request.workspace, compute, account))
            self._logins.add(task)
            task.add_done_callback(self._logins.discard)
        return answer(
            self._compute(request.workspace, compute), headers=self._operation_header(request.workspace, compute.name)
        )

    async def _log_in(self, workspace: Workspace, compute: Compute, account: Account) -> None:
        errors = []
        try:
            (await connect(compute.inner["address"], int(compute.inner["sshPort"]), account)).close()
        except LoginError as error:
            errors.append(provisioning_error("SshLoginFailed", str(error)))
        if self.store.find_compute(workspace, compute.name) is not None:  # it may have been detached meanwhile
            self.store.provisioned(workspace, compute, errors)

    async def patch_compute(self, request: Request) -> web.Response:
        self.store.compute(request.workspace, request.params["compute"])
        return await self.put_compute(request)

    async def delete_compute(self, request: Request) -> web.Response:
        name = request.params["compute"]
        self.store.delete_compute(request.workspace, name)
        return answer({}, status=202, headers=self._operation_header(request.workspace, name))

    def _operation_header(self, workspace: Workspace, compute: str) -> dict[str, str]:
        operation = str(uuid.uuid4())
        self.state.collection("compute_operations").put(workspace.id, operation, {"compute": compute})
        return {
            "Azure-AsyncOperation": f"{self.emulator.url}{workspace.arm_id}/operations/{operation}"
            "?api-version=2021-07-01"
        }

    async def operation(self, request: Request) -> web.Response:
        """The state of an operation is that of its compute target; when that is gone, it was deleted."""
        workspace, operation = request.workspace, request.params["operation"]
        record = self.state.collection("compute_operations").get(workspace.id, operation)
        if record is None:
            raise not_found("Operation", operation)

        def found() -> Compute | None:
            return self.store.find_compute(workspace, record["compute"])

        def ended() -> bool:
            compute = found()
            return compute is None or compute.state != "Creating"

        await self.state.wait_for(ended, _LONG_POLL_SECONDS)
        compute = found()
        if compute is None or compute.state == "Succeeded":
            return answer({"status": "Succeeded"})
        if compute.state == "Creating":
            return answer({"status": "InProgress"})
        return answer({"status": "Failed", "error": {"statusCode": 400, **compute.errors[0]["error"]}})

    async def keys(self, request: Request) -> web.Response:
        """What ``RemoteCompute.get_credentials`` and ``DsvmCompute.get_credentials`` return."""
        compute = self.store.compute(request.workspace, request.params["compute"])
        if compute.compute_type != "VirtualMachine":
            raise bad_request(f"Compute target '{compute.name}' is {compute.compute_type}, which has no credentials.")
        account = self.store.account(request.workspace, compute.name)
        return answer(credentials_payload(compute, account))

    async def nodes(self, request: Request) -> web.Response:
        compute = self.store.compute(request.workspace, request.params["compute"])
        nodes = self.emulator.execution.pool(request.workspace, compute.name).nodes()
        return answer({"nodes": [node_payload(node) for node in nodes]})

    async def vm_sizes(self, _: Request) -> web.Response:
        sizes = [vm_size_payload(size) for size in SIZES]
        return answer({"amlCompute": sizes, "value": sizes})


def _template_resources(body: Any) -> list[dict[str, Any]]:
    try:
        return list(body["properties"]["template"]["resources"])
    except (KeyError, TypeError) as error:
        raise bad_request("The body has no properties.template.resources: it is not an ARM deployment.") from error
