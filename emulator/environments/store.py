"""What the environment service keeps: definitions by name and version."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from emulator.errors import ServiceError, not_found
from emulator.management.store import Workspace
from emulator.state import Record, State

_IDENTITY = ("name", "version")


class RegisteredEnvironment(BaseModel):
    """One version of an environment (``azureml.core.Environment``).

    ``definition`` has the SDK's keys: ``python``, ``docker``, ``environmentVariables``, ``spark`` …
    """

    model_config = ConfigDict(frozen=True)

    name: str
    version: str
    definition: Record

    def payload(self) -> Record:
        return {"name": self.name, "version": self.version, **self.definition}


def content_of(body: Record) -> Record:
    """What makes two definitions the same: all but name and version, whatever the case in which the SDK sends the keys,
    and without what is not set."""
    keyed = {key[:1].lower() + key[1:]: value for key, value in body.items()}
    return {key: value for key, value in keyed.items() if key not in _IDENTITY and value is not None}


class EnvironmentsStore:
    def __init__(self, state: State) -> None:
        self._state = state
        self._environments = state.collection("environments")

    def versions(self, workspace: Workspace, name: str) -> list[RegisteredEnvironment]:
        """Every version of an environment, oldest first."""
        found = (RegisteredEnvironment.model_validate(record) for record in self._environments.list(workspace.id))
        return [one for one in found if one.name == name]

    def latest(self, workspace: Workspace) -> list[RegisteredEnvironment]:
        """The newest version of every environment."""
        found = (RegisteredEnvironment.model_validate(record) for record in self._environments.list(workspace.id))
        return list({one.name: one for one in found}.values())

    def environment(self, workspace: Workspace, name: str, version: str | None = None) -> RegisteredEnvironment:
        """That version of an environment, or its newest.

        Raises:
            ServiceError: 404.
        """
        versions = self.versions(workspace, name)
        found = [one for one in versions if version in (None, one.version)]
        if found:
            return found[-1]
        if versions:
            have = ", ".join(one.version for one in versions)
            raise not_found(f"Version {version} of environment", name, f"this workspace, which has: {have}")
        registered = ", ".join(one.name for one in self.latest(workspace)) or "none"
        raise not_found(
            "Environment", name, f"this workspace (the emulator has no curated environments; registered: {registered})"
        )

    def register(self, workspace: Workspace, name: str, version: str | None, body: Record) -> RegisteredEnvironment:
        """Keep a definition: a new version only when its content differs from the newest one's.

        Raises:
            ServiceError: 409 when the version asked for is there with another content.
        """
        content: dict[str, Any] = content_of(body)
        versions = self.versions(workspace, name)
        if version is not None:
            same = next((one for one in versions if one.version == version), None)
            if same is not None and same.definition != content:
                raise ServiceError(
                    409,
                    "Conflict",
                    f"Version {version} of environment '{name}' is registered with another content and cannot be "
                    "changed: set environment.version = None to register a new version.",
                )
            if same is not None:
                return same
        elif versions and versions[-1].definition == content:
            return versions[-1]
        else:
            taken = {one.version for one in versions}
            version = str(self._state.next_number("environment", f"{workspace.id}/{name}"))
            while version in taken:
                version = str(self._state.next_number("environment", f"{workspace.id}/{name}"))
        environment = RegisteredEnvironment(name=name, version=version, definition=content)
        self._environments.put(workspace.id, f"{name}\n{version}", environment.model_dump())
        return environment
