"""What the environment service keeps: definitions by name and version."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from emulator.errors import ServiceError, not_found
from emulator.management.store import Workspace
from emulator.state import Record, State

_CONTENT = ("python", "docker", "environmentVariables", "spark", "r", "inferencingStackVersion")


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


def definition_of(body: Record) -> Record:
    """The definition in what the SDK sends, which writes some keys with a capital when it registers."""
    keyed = {key[:1].lower() + key[1:]: value for key, value in body.items()}
    return without_registry_password({key: keyed[key] for key in _CONTENT if keyed.get(key) is not None})


def without_registry_password(definition: Record) -> Record:
    """The definition without the password of its image's registry: nothing is pulled here, and nobody must read it."""
    docker = definition.get("docker") or {}
    registry = docker.get("baseImageRegistry") or {}
    if not registry.get("password"):
        return definition
    return {**definition, "docker": {**docker, "baseImageRegistry": {**registry, "password": None}}}


def _without_unset(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {key: _without_unset(inner) for key, inner in value.items()}
        return {key: inner for key, inner in kept.items() if inner not in (None, {}, [])}
    return [_without_unset(inner) for inner in value] if isinstance(value, list) else value


def same_content(one: Record, other: Record) -> bool:
    """Whether two definitions mean the same: what is not set may be missing, null or empty."""
    return bool(_without_unset(one) == _without_unset(other))


class EnvironmentsStore:
    def __init__(self, state: State) -> None:
        self._state = state
        self._environments = state.collection("environments")

    def versions(self, workspace: Workspace, name: str) -> list[RegisteredEnvironment]:
        """Every version of an environment, oldest first."""
        found = (RegisteredEnvironment.model_validate(record) for record in self._environments.all(workspace.id))
        return [one for one in found if one.name == name]

    def latest(self, workspace: Workspace) -> list[RegisteredEnvironment]:
        """The newest version of every environment."""
        found = (RegisteredEnvironment.model_validate(record) for record in self._environments.all(workspace.id))
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
        definition = definition_of(body)
        versions = self.versions(workspace, name)
        if version is None:
            if versions and same_content(versions[-1].definition, definition):
                return versions[-1]
            return self._add(workspace, name, self._next_version(workspace, name, versions), definition)
        known = next((one for one in versions if one.version == version), None)
        if known is None:
            return self._add(workspace, name, version, definition)
        if not same_content(known.definition, definition):
            raise ServiceError(
                409,
                "Conflict",
                f"Version {version} of environment '{name}' is registered with another content and cannot be "
                "changed: set environment.version = None to register a new version.",
            )
        return known

    def resolve(self, workspace: Workspace, unnamed: str, body: Record) -> RegisteredEnvironment:
        """The environment of a submitted run, registered when it is not: what it names, if that is what it holds.

        Args:
            workspace: of the run.
            unnamed: the name that an environment without one gets.
            body: a whole definition, or only the name and version of a registered one.

        Raises:
            ServiceError: 404 for a name or version that is not registered.
        """
        name, version = body.get("name") or unnamed, body.get("version")
        definition = definition_of(body)
        if not definition:
            return self.environment(workspace, name, version)
        for known in self.versions(workspace, name):
            if known.version == version and same_content(known.definition, definition):
                return known
        return self.register(workspace, name, None, body)

    def _next_version(self, workspace: Workspace, name: str, versions: list[RegisteredEnvironment]) -> str:
        taken = {one.version for one in versions}
        numbers = iter(lambda: str(self._state.next_number("environment", f"{workspace.id}/{name}")), "")
        return next(number for number in numbers if number not in taken)

    def _add(self, workspace: Workspace, name: str, version: str, definition: Record) -> RegisteredEnvironment:
        environment = RegisteredEnvironment(name=name, version=version, definition=definition)
        self._environments.put(workspace.id, f"{name}\n{version}", environment.model_dump())
        return environment
