"""What model management keeps of web services, and of the operations that make, change and profile things."""

from __future__ import annotations

import secrets
import uuid
from datetime import datetime, timezone
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from emulator.errors import ServiceError, not_found
from emulator.models.store import has
from emulator.services.configuration import Configuration, containers, model_ids
from emulator.state import State, utc_now

OperationState = Literal["NotStarted", "Running", "Succeeded", "Failed", "Cancelled", "TimedOut"]
Stage = Literal["BuildEnvironment", "DeployService"]


class DeploymentError(Exception):
    """A service, or a profile's replica, cannot be brought up.

    Args:
        stage: where: the environment's build, or the container itself.
        code: Azure's short word for it, for example ``CrashLoopBackOff``.
        message: what failed, why, and what to do next.
        log_tail: the end of the log that shows it.
    """

    def __init__(self, stage: Stage, code: str, message: str, log_tail: str) -> None:
        super().__init__(message)
        self.stage = stage
        self.code = code
        self.message = message
        self.log_tail = log_tail

    def payload(self) -> dict[str, Any]:
        """As an operation or a service carries it: ``wait_for_deployment`` prints all of it."""
        return {
            "code": self.code,
            "statusCode": 400,
            "message": self.message,
            "details": [{"code": self.code, "message": self.log_tail}],
        }


class Operation(BaseModel):
    """One long-running operation, which the SDK polls (``wait_for_deployment``, ``wait_for_completion``)."""

    model_config = ConfigDict(frozen=True)

    id: str
    kind: Literal["Service", "Profile"]
    resource: str
    state: OperationState
    stage: Stage = "BuildEnvironment"
    error: dict[str, Any] | None = None
    progress: list[str] = []
    created: str
    ended: str | None = None

    @property
    def final(self) -> bool:
        return self.state not in ("NotStarted", "Running")


class WebService(BaseModel):
    """One web service (``azureml.core.Webservice``).

    Attributes:
        configuration: what is served; before the first success, what is to be.
        revisions: by name (:func:`containers`), the container that serves it; empty before the first success.
        next_configuration: what a roll-out is bringing up; ``None`` when there is none.
        operation: the roll-out in progress.
        log_revisions: by name, the container that was started last, whether it came up or not: whose log is shown.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    configuration: Configuration
    revisions: dict[str, int] = {}
    next_configuration: Configuration | None = None
    operation: str | None = None
    log_revisions: dict[str, int] = {}
    primary_key: str = Field(repr=False)
    secondary_key: str = Field(repr=False)
    state: Literal["Transitioning", "Healthy", "Unhealthy", "Failed"]
    error: dict[str, Any] | None = None
    created: str
    created_by: str
    updated: str

    @property
    def desired(self) -> Configuration:
        return self.next_configuration or self.configuration

    def image_id(self, container: str) -> str:
        """The image that the emulator chose for one of :func:`containers`."""
        name = f"{self.name}-{container}" if container else self.name
        return f"{name}:{self.revisions.get(container, 1)}"

    def uses(self, model_id: str) -> bool:
        return model_id in model_ids(self.configuration) or model_id in model_ids(self.desired)


def new_key() -> str:
    return secrets.token_urlsafe(24)


class OperationStore:
    """Operations by workspace id."""

    def __init__(self, state: State) -> None:
        self._operations = state.collection("operations")

    def begin(
        self, workspace_id: str, kind: Literal["Service", "Profile"], resource: str, state: OperationState = "Running"
    ) -> Operation:
        operation = Operation(id=str(uuid.uuid4()), kind=kind, resource=resource, state=state, created=utc_now())
        self._operations.put(workspace_id, operation.id, operation.model_dump())
        return operation

    def get(self, workspace_id: str, operation_id: str) -> Operation:
        """
        Raises:
            ServiceError: 404.
        """
        record = self._operations.get(workspace_id, operation_id)
        if record is None:
            raise not_found("Operation", operation_id)
        return Operation.model_validate(record)

    def advance(self, workspace_id: str, operation_id: str, stage: Stage, progress: str) -> None:
        """Note what the operation is doing now, for ``wait_for_deployment(show_output=True)``."""
        stamp = datetime.now(timezone.utc).strftime("%Y%m%d%H%M%S")
        lines = self.get(workspace_id, operation_id).progress
        self._operations.update(workspace_id, operation_id, stage=stage, progress=[*lines, f"{stamp}|{progress}"])

    def end(
        self, workspace_id: str, operation_id: str, state: OperationState, failure: DeploymentError | None = None
    ) -> None:
        changes: dict[str, Any] = {"state": state, "ended": utc_now()}
        if failure is not None:
            changes |= {"stage": failure.stage, "error": failure.payload()}
        self._operations.update(workspace_id, operation_id, **changes)


class WebServiceStore:
    """Services by workspace id and name."""

    def __init__(self, state: State) -> None:
        self._services = state.collection("web_services")

    def find(self, workspace_id: str, name: str) -> WebService | None:
        record = self._services.get(workspace_id, name)
        return None if record is None else WebService.model_validate(record)

    def get(self, workspace_id: str, name: str) -> WebService:
        """
        Raises:
            ServiceError: 404.
        """
        found = self.find(workspace_id, name)
        if found is None:
            raise ServiceError(404, "WebserviceNotFound", f"Web service '{name}' was not found in this workspace.")
        return found

    def put(self, workspace_id: str, service: WebService) -> WebService:
        self._services.put(workspace_id, service.name, service.model_dump())
        return service

    def update(self, workspace_id: str, name: str, **changes: Any) -> WebService:
        record = self._services.update(workspace_id, name, **changes)
        return WebService.model_validate(record)

    def delete(self, workspace_id: str, name: str) -> None:
        self._services.delete(workspace_id, name)

    def all(self, workspace_id: str) -> list[WebService]:
        return [WebService.model_validate(record) for record in self._services.all(workspace_id)]


def matches(service: WebService, query: dict[str, str]) -> bool:
    """Whether a service meets the filters of ``Webservice.list``."""
    ids = model_ids(service.configuration)
    names = [model_id.rpartition(":")[0] for model_id in ids]
    images = [service.image_id(container) for container in containers(service.configuration)]
    return (
        query.get("computeType", "").upper() in ("", service.configuration["computeType"])
        and query.get("modelId") in (None, *ids)
        and query.get("modelName") in (None, *names)
        and query.get("imageId") in (None, *images)
        and query.get("imageName") in (None, *(image.rpartition(":")[0] for image in images))
        and has(service.configuration["kvTags"], query.get("tags"))
        and has(service.configuration["properties"], query.get("properties"))
    )
