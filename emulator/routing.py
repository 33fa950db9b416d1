"""Which handler answers which request: Azure's paths are matched whatever their case and doubled slashes."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from aiohttp import web

from emulator.errors import bad_request, not_emulated

if TYPE_CHECKING:
    from emulator.management.store import Workspace

WORKSPACE_PATH = (
    "subscriptions/{subscription}/resourceGroups/{resource_group}"
    "/providers/Microsoft.MachineLearningServices/workspaces/{workspace}"
)
"""Expanded wherever a template says ``{WS}``."""


@dataclass(frozen=True)
class Request:
    """One request as a handler sees it.

    Attributes:
        http: aiohttp's request, for headers and streaming.
        params: the values captured by the route's template, URL-decoded.
        scope: the workspace named in the path, for routes that live below one.
    """

    http: web.Request
    params: Mapping[str, str]
    scope: Workspace | None = None

    @property
    def workspace(self) -> Workspace:
        """The workspace named in the path; only for routes whose template has ``{WS}``."""
        if self.scope is None:
            raise LookupError(f"{self.http.path} does not name a workspace")
        return self.scope

    @property
    def query(self) -> Mapping[str, str]:
        return self.http.query

    async def json(self) -> Any:
        """The body as JSON; an empty body is ``{}``.

        Raises:
            ServiceError: 400 when the body is not JSON.
        """
        text = await self.http.text()
        if not text.strip():
            return {}
        try:
            return json.loads(text)
        except ValueError as error:
            raise bad_request(f"The body of {self.http.method} {self.http.path} is not JSON: {error}.") from error


Handler = Callable[[Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Route:
    """One line of a service's table.

    ``template`` captures a segment as ``{name}`` and the rest of the path as ``{name:path}``; ``{WS}`` is a workspace.
    ``open`` routes need no bearer token (identity, discovery, signed blob addresses, scoring with its own keys).
    ``workspace_must_exist`` is off only for the routes that create or look up the workspace itself.
    """

    method: str
    template: str
    handler: Handler
    open: bool = False
    workspace_must_exist: bool = True


def _compile(template: str) -> re.Pattern[str]:
    expanded = template.replace("{WS}", WORKSPACE_PATH)
    pattern = ""
    for part in re.split(r"(\{[a-z_]+(?::path)?\})", expanded):
        if part.startswith("{"):
            name, _, kind = part[1:-1].partition(":")
            pattern += f"(?P<{name}>{'.+' if kind == 'path' else '[^/]+'})"
        else:
            pattern += re.escape(part)
    return re.compile(pattern + "/?", re.IGNORECASE)


def _decoded(value: str) -> str:
    """A captured value as the client meant it. Many become names of files: none may climb out of its directory."""
    text = unquote(value)
    if "\0" in text or ".." in text.split("/"):
        raise bad_request(f"'{value}' is not a name.")
    return text


class RouteTable:
    """Finds the route of a request. Routes are tried in the order in which the services list them."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._by_method: dict[str, list[tuple[re.Pattern[str], Route]]] = {}
        for route in routes:
            self._by_method.setdefault(route.method, []).append((_compile(route.template), route))

    def find(self, method: str, raw_path: str) -> tuple[Route, dict[str, str]]:
        """The route for ``raw_path`` (still URL-encoded: HyperDrive sends a scope with ``%2F``) and what it captured.

        Raises:
            ServiceError: 501 with the path, for whatever the emulator does not know; 400 for a name that climbs up.
        """
        path = re.sub(r"/{2,}", "/", raw_path.partition("?")[0])
        for pattern, route in self._by_method.get(method, ()):
            if match := pattern.fullmatch(path):
                return route, {name: _decoded(value) for name, value in match.groupdict().items()}
        raise not_emulated(f"{method} {unquote(path)}")


def answer(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """A JSON answer."""
    return web.json_response(body, status=status, headers=headers)
