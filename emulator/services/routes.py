"""Model management: web services on ACI and AKS, and the operations that the SDK waits for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

from emulator.errors import ServiceError, bad_request, not_emulated
from emulator.management.store import Workspace
from emulator.models.json_patch import apply_patch
from emulator.models.payloads import model_payload
from emulator.models.routes import MMS
from emulator.routing import Request, Route, answer
from emulator.service import Service
from emulator.services.access import issue_token
from emulator.services.configuration import (
    Configuration,
    check_name,
    complete,
    containers,
    same_image,
    serving_policy,
)
from emulator.services.container import resolve_image
from emulator.services.fork_server import ForkServers
from emulator.services.payloads import operation_headers, operation_payload, service_payload
from emulator.services.rollout import Rollouts, audience, build_log_blob
from emulator.services.router import Router
from emulator.services.store import Operation, OperationStore, WebService, WebServiceStore, matches, new_key
from emulator.state import utc_now

if TYPE_CHECKING:
    from emulator.server import Emulator

_LONG_POLL_SECONDS = 25.0
_LOG_LINES = 5000  # get_logs' own default


class ServicesService(Service):
    """Web services (``azureml.core.Webservice``), really served, and the scoring front end before them."""

    def __init__(self, emulator: Emulator) -> None:
        super().__init__(emulator)
        self.router = Router(self.state)
        self.rollouts = Rollouts(emulator, self.router)
        self.fork_servers = ForkServers(self.state.directory / "fork-servers")

    @property
    def store(self) -> WebServiceStore:
        return WebServiceStore(self.state)

    @property
    def operations(self) -> OperationStore:
        return OperationStore(self.state)

    def routes(self) -> list[Route]:
        service = MMS + "/services/{service}"
        return [
            Route("POST", MMS + "/services/validate/name/{service}", self.validate_name),
            Route("POST", MMS + "/services/validate/resource", self.validate_resource),
            Route("POST", MMS + "/services/validate", self.validate),
            Route("POST", MMS + "/services", self.create),
            Route("GET", MMS + "/services", self.list_services),
            Route("GET", service, self.get_service),
            Route("PATCH", service, self.patch_service),
            Route("DELETE", service, self.delete_service),
            Route("GET", service + "/logs", self.logs),
            Route("POST", service + "/listkeys", self.list_keys),
            Route("POST", service + "/regenerateKeys", self.regenerate_key),
            Route("POST", service + "/token", self.token),
            Route("GET", MMS + "/operations/{operation}", self.get_operation),
        ]

    def scoring_app(self) -> web.Application:
        """What answers on the scoring port."""
        return self.router.app()

    async def start(self) -> None:
        """Services that were up come up again in the background: the router lets requests wait for them."""
        for workspace in self.emulator.management.store.workspaces():
            for service in self.store.all(workspace.id):
                self.rollouts.resume(workspace, service)

    async def stop(self) -> None:
        await self.rollouts.stop()
        await self.fork_servers.stop()

    def names_using(self, workspace: Workspace, model_id: str) -> list[str]:
        """The services that serve a model, or are about to."""
        return [service.name for service in self.store.all(workspace.id) if service.uses(model_id)]

    def cluster_changed(self, workspace: Workspace, cluster: str) -> None:
        """Whether and how an AKS cluster does TLS may be different now."""
        for service in self.store.all(workspace.id):
            if str(service.configuration.get("computeName")).lower() == cluster.lower():
                self.rollouts.publish(workspace, service)

    def scoring_uri(self, workspace: Workspace, service: WebService) -> str:
        """Where a service is reached now: the port may be another one after a restart."""
        front_end = self.rollouts.front_end(workspace, service)
        address = self.emulator.scoring_url if front_end is None else self.rollouts.tls.url(front_end)
        return f"{address}/{workspace.name}/api/v1/service/{service.name}/score"

    def _payload(self, workspace: Workspace, service: WebService) -> dict[str, Any]:
        registry = self.emulator.models.store
        models = {
            name: [
                model_payload(registry.model(workspace.id, id_))
                for id_ in container["environmentImageRequest"].get("modelIds") or []
            ]
            for name, container in {**containers(service.desired), **containers(service.configuration)}.items()
        }
        health = self.rollouts.health(workspace, service)
        return service_payload(service, self.scoring_uri(workspace, service), health, models, workspace.name)

    def _service(self, request: Request) -> WebService:
        return self.store.get(request.workspace.id, request.params["service"])

    def _accepted(self, operation: Operation, request: Request) -> web.Response:
        return answer({}, status=202, headers=operation_headers(self.emulator.url, request.workspace, operation))

    def _check_free(self, workspace: Workspace, name: str) -> None:
        if self.store.find(workspace.id, name) is not None:
            raise ServiceError(
                409,
                "WebserviceAlreadyExists",
                f"Web service '{name}' exists already in workspace '{workspace.name}': use another name, delete it, or "
                "deploy with overwrite=True.",
            )

    def _check(self, workspace: Workspace, name: str, configuration: Configuration) -> None:
        """Whether what the service is to be can be had here.

        Raises:
            ServiceError: 400, 404 or 409 with the reason.
        """
        check_name(name)
        old = self.store.find(workspace.id, name)
        if old is not None and old.revisions and old.configuration["computeType"] != configuration["computeType"]:
            raise bad_request(
                f"Web service '{name}' is of type {old.configuration['computeType']} and cannot become one of type "
                f"{configuration['computeType']}: delete it first, or use another name."
            )
        for other in self.emulator.management.store.workspaces():
            if (
                other.id != workspace.id
                and other.name.lower() == workspace.name.lower()
                and self.store.find(other.id, name)
            ):
                raise ServiceError(
                    409,
                    "WebserviceAlreadyExists",
                    f"Workspace '{other.name}' of resource group '{other.resource_group}' has a web service '{name}' "
                    "already, and would be reached under the same address: use another name.",
                )
        if configuration["computeType"] != "ACI":
            compute = self.emulator.management.store.compute(workspace, configuration["computeName"])
            if compute.compute_type != "AKS":
                raise bad_request(f"Compute target '{compute.name}' is of type {compute.compute_type}, not AKS.")
        for container in containers(configuration).values():
            resolve_image(self.emulator, workspace, name, container["environmentImageRequest"])

    async def validate_name(self, request: Request) -> web.Response:
        """Asked before every deployment without ``overwrite``; the SDK raises the message that is found here."""
        try:
            check_name(request.params["service"])
            self._check_free(request.workspace, request.params["service"])
        except ServiceError as error:
            return answer(error.payload())
        return answer({})

    async def validate_resource(self, _: Request) -> web.Response:
        """Whether the compute target has room: it always has."""
        return answer({})

    async def validate(self, request: Request) -> web.Response:
        """The SDK asks before it creates; updates and deletions are checked when they come."""
        body = await request.json()
        created = body.get("createRequest")
        if created:
            try:
                configuration = complete(created, request.workspace.location)
                self._check(request.workspace, str(body.get("serviceName")), configuration)
            except ServiceError as error:
                return answer(error.payload())
        return answer({})

    async def create(self, request: Request) -> web.Response:
        body, workspace = await request.json(), request.workspace
        name = str(body.get("name"))
        if not body.get("overwrite"):
            self._check_free(workspace, name)
        configuration = complete(body, workspace.location)
        self._check(workspace, name, configuration)
        if self.store.find(workspace.id, name) is not None:
            await self.rollouts.cancel(workspace, name)
        old = self.store.find(workspace.id, name)
        keys, now = body.get("keys") or {}, utc_now()
        principal = self.emulator.identity.verify(request.http.headers.get("Authorization"))
        operation = self.operations.begin(workspace.id, "Service", f"services/{name}")
        service = WebService(
            name=name,
            configuration=old.configuration if old and old.revisions else configuration,
            revisions=old.revisions if old else {},
            log_revisions=old.log_revisions if old else {},
            next_configuration=configuration,
            operation=operation.id,
            primary_key=keys.get("primaryKey") or (old.primary_key if old else new_key()),
            secondary_key=keys.get("secondaryKey") or (old.secondary_key if old else new_key()),
            state="Transitioning",
            created=old.created if old else now,
            created_by=old.created_by if old else principal.name,
            updated=now,
        )
        self.store.put(workspace.id, service)
        self.rollouts.begin(workspace, name)
        return self._accepted(operation, request)

    async def list_services(self, request: Request) -> web.Response:
        found = [service for service in self.store.all(request.workspace.id) if matches(service, dict(request.query))]
        return answer({"value": [self._payload(request.workspace, service) for service in found]})

    async def get_service(self, request: Request) -> web.Response:
        return answer(self._payload(request.workspace, self._service(request)))

    async def patch_service(self, request: Request) -> web.Response:
        """Tags and the like at once; models, environment and replicas by a roll-out."""
        workspace, operations = request.workspace, await request.json()
        service = self._service(request)
        before = service.desired
        changed = apply_patch(before, _as_stored(service, operations))
        if unknown := changed.keys() - before.keys():
            raise not_emulated(f"changing {', '.join(sorted(unknown))}")
        target = complete(changed, workspace.location, before)
        self._check(workspace, service.name, target)
        at_once = service.operation is None and self.rollouts.is_served(workspace, service)
        if at_once and _same_replicas(service.configuration, target):
            done = self.store.update(workspace.id, service.name, configuration=target, updated=utc_now())
            self.rollouts.publish(workspace, done)
            operation = self.operations.begin(workspace.id, "Service", f"services/{service.name}", "Succeeded")
            return self._accepted(operation, request)
        await self.rollouts.cancel(workspace, service.name)
        operation = self.operations.begin(workspace.id, "Service", f"services/{service.name}")
        self.store.update(
            workspace.id,
            service.name,
            **({} if service.revisions else {"configuration": target}),
            next_configuration=target,
            operation=operation.id,
            state="Transitioning",
            updated=utc_now(),
        )
        self.rollouts.begin(workspace, service.name)
        return self._accepted(operation, request)

    async def delete_service(self, request: Request) -> web.Response:
        workspace, name = request.workspace, request.params["service"]
        if self.store.find(workspace.id, name) is None:
            return web.Response(status=204)
        await self.rollouts.remove(workspace, name)
        return answer({})

    async def logs(self, request: Request) -> web.Response:
        lines = int(request.query.get("tail") or _LOG_LINES)
        return answer({"content": self.rollouts.logs(request.workspace, self._service(request), lines)})

    async def list_keys(self, request: Request) -> web.Response:
        service = self._service(request)
        return answer({"primaryKey": service.primary_key, "secondaryKey": service.secondary_key})

    async def regenerate_key(self, request: Request) -> web.Response:
        body, service = await request.json(), self._service(request)
        field = {"Primary": "primary_key", "Secondary": "secondary_key"}.get(str(body.get("keyType")))
        if field is None:
            raise bad_request(f"'{body.get('keyType')}' is not a key: it is Primary or Secondary.")
        changes = {field: body.get("keyValue") or new_key()}
        self.rollouts.publish(request.workspace, self.store.update(request.workspace.id, service.name, **changes))
        operation = self.operations.begin(request.workspace.id, "Service", f"services/{service.name}", "Succeeded")
        return self._accepted(operation, request)

    async def token(self, request: Request) -> web.Response:
        service = self._service(request)
        if not service.configuration.get("aadAuthEnabled"):
            raise bad_request(f"Web service '{service.name}' has no token authentication: use its keys.")
        token = issue_token(audience(request.workspace, service.name), self.state.secret("scoring_token_key"))
        return answer(
            {
                "accessToken": token.value,
                "tokenType": "Bearer",
                "refreshAfter": token.refresh_after,
                "expiryOn": token.expires,
            }
        )

    async def get_operation(self, request: Request) -> web.Response:
        """Answered when the operation has ended, or after a while: the SDK sleeps five seconds between two polls."""
        workspace, operation_id = request.workspace, request.params["operation"]
        self.operations.get(workspace.id, operation_id)
        await self.state.wait_for(lambda: self.operations.get(workspace.id, operation_id).final, _LONG_POLL_SECONDS)
        operation = self.operations.get(workspace.id, operation_id)
        log_url = self.emulator.storage.download_url(*build_log_blob(operation_id))
        return answer(operation_payload(operation, log_url, int(request.query.get("offset") or 0)))


def _same_replicas(before: Configuration, after: Configuration) -> bool:
    """Whether a change needs no other replicas than there are."""
    old, new = containers(before), containers(after)
    if old.keys() != new.keys():
        return False
    policies = [(serving_policy(old[name]), serving_policy(new[name])) for name in old]
    return all(same_image(old[name], new[name]) for name in old) and all(
        (was.replicas, was.scaling) == (is_now.replicas, is_now.scaling) for was, is_now in policies
    )


def _as_stored(service: WebService, operations: Any) -> Any:
    """What ``AksEndpoint`` sends, by the names under which it is kept.

    Raises:
        ServiceError: 404 for a version that is not there, 409 for a new one that is.
    """
    versions = service.desired.get("versions")
    if versions is None or not isinstance(operations, list):
        return operations
    stored = []
    for operation in operations:
        _, *members = str(operation.get("path")).split("/")
        if members[0] == "versions" and len(members) > 1:
            _check_version(service.name, versions, members[1], new=operation.get("op") == "add" and len(members) == 2)
            if members[2:] == ["tags"]:  # so says update_version; everything else says kvTags
                operation = {**operation, "path": f"/versions/{members[1]}/kvTags"}
        stored.append(operation)
    return stored


def _check_version(endpoint: str, versions: dict[str, Any], name: str, *, new: bool) -> None:
    if new and name in versions:
        raise ServiceError(
            409, "VersionAlreadyExists", f"Endpoint '{endpoint}' has a version '{name}' already: use update_version."
        )
    if not new and name not in versions:
        raise ServiceError(
            404, "VersionNotFound", f"Endpoint '{endpoint}' has no version '{name}'. It has: {', '.join(versions)}."
        )
