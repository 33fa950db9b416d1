"""What runs in the emulator, asked over HTTPS like any client would."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from emulator.daemon import Running
from emulator.errors import StartupError

_SECONDS = 10.0


def read_status(running: Running) -> dict[str, Any]:
    """The workspaces with their compute targets, unfinished runs and web services.

    Raises:
        StartupError: the process lives but does not answer.
    """
    context = ssl.create_default_context(cafile=str(Path(running.state_directory) / "tls" / "ca.pem"))
    # Never through a proxy, whatever the environment says: what is asked is on this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    form = f"grant_type=client_credentials&client_id={running.client_id}&client_secret={running.client_secret}"
    try:
        with opener.open(f"{running.url}/adfs/oauth2/token", form.encode(), timeout=_SECONDS) as answer:
            token = json.load(answer)["access_token"]
        request = urllib.request.Request(f"{running.url}/emulator/status", headers={"Authorization": f"Bearer {token}"})
        with opener.open(request, timeout=_SECONDS) as answer:
            status: dict[str, Any] = json.load(answer)
            return status
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
