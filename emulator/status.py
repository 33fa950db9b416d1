"""What its operator asks of the emulator, over HTTPS like any client."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import quote

from emulator.daemon import Running
from emulator.errors import StartupError
from emulator.management.defaults import SUBSCRIPTION
from emulator.routing import WORKSPACE_PATH

_SECONDS = 10.0


def read_status(running: Running) -> dict[str, Any]:
    """The workspaces with their compute targets, unfinished runs and web services.

    Raises:
        StartupError: the process lives but does not answer.
    """
    return _ask(running, "/emulator/status")


def preempt(running: Running, compute: str, workspace: str) -> list[str]:
    """Take the nodes of a low-priority cluster away; returns the ids of the runs that are queued again.

    Raises:
        StartupError: there is no such workspace or cluster, or it is not of low priority.
    """
    runs: list[str] = _ask(running, f"{_compute_path(running, compute, workspace)}/preempt", {})["runs"]
    return runs


def fail_next_creation(running: Running, compute: str, workspace: str, message: str) -> None:
    """Have the next creation of a compute target of that name fail with the message.

    Raises:
        StartupError: there is no such workspace.
    """
    _ask(running, f"{_compute_path(running, compute, workspace)}/fail-next-creation", {"message": message})


def _compute_path(running: Running, compute: str, workspace: str) -> str:
    known = read_status(running)["workspaces"]
    found = next((one for one in known if one["name"] == workspace), None)
    if found is None:
        raise StartupError(f"there is no workspace '{workspace}': it has {', '.join(one['name'] for one in known)}.")
    place = Template(WORKSPACE_PATH.replace("{", "${")).substitute(
        subscription=SUBSCRIPTION, resource_group=found["resource_group"], workspace=workspace
    )
    return f"/emulator/{place}/computes/{quote(compute)}"


def _ask(running: Running, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    context = ssl.create_default_context(cafile=str(Path(running.state_directory) / "tls" / "ca.pem"))
    # Never through a proxy, whatever the environment says: what is asked is on this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    form = f"grant_type=client_credentials&client_id={running.client_id}&client_secret={running.client_secret}"
    try:
        with opener.open(f"{running.url}/adfs/oauth2/token", form.encode(), timeout=_SECONDS) as answer:
            token = json.load(answer)["access_token"]
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{running.url}{path}", data, {"Authorization": f"Bearer {token}"})
        with opener.open(request, timeout=_SECONDS) as answer:
            told: dict[str, Any] = json.load(answer)
            return told
    except urllib.error.HTTPError as error:
        raise StartupError(json.load(error)["message"]) from error
    except (urllib.error.URLError, TimeoutError) as error:
        raise StartupError(
            f"the emulator (process {running.pid}) does not answer on {running.url}: {error}. "
            "Look at `python -m emulator logs`, or stop and start it."
        ) from error


def render_status(running: Running, status: dict[str, Any]) -> str:
    """The status for a person."""
    lines = [
        f"running on {running.url} (process {running.pid})",
        f"scoring on {running.scoring_url}",
        f"state in   {running.state_directory}",
    ]
    for workspace in status["workspaces"]:
        lines += ["", f"workspace {workspace['name']} (resource group {workspace['resource_group']})"]
        rows = [
            (kind, item["name"], item["state"])
            for kind, plural in (("compute", "computes"), ("run", "runs"), ("service", "services"))
            for item in workspace[plural]
        ]
        width = max((len(name) for _, name, _ in rows), default=0)
        lines += [f"  {kind:<7}  {name:<{width}}  {state}" for kind, name, state in rows]
        if not rows:
            lines.append("  no compute target, unfinished run or web service")
    return "\n".join(lines)
