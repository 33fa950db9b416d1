"""The Prefect server of this repository: started in the background when no PREFECT_API_URL is set.

    python -m flows.prefect_server start | stop | status

An ephemeral server would forget the run that somebody wants to look at afterwards, and takes longer at each start.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psutil

HOST = "127.0.0.1"
_USUAL_PORT = 4200
_START_SECONDS = 120.0
_STOP_SECONDS = 20.0
_NOT_RUNNING = 3  # as `systemctl status` and the LSB have it


class PrefectServerError(Exception):
    """The server cannot be started, reached or stopped; ``str()`` says why and what to do next."""


@dataclass(frozen=True)
class PrefectServer:
    """A Prefect server: the address of its API; process number and time of creation (epoch seconds) when it is ours."""

    api_url: str
    pid: int | None = None
    created: float | None = None

    @property
    def ui_url(self) -> str:
        return self.api_url.removesuffix("/api")


def home() -> Path:
    """Where the server keeps its database and its log: PREFECT_HOME, else ``.prefect`` in this repository."""
    named = os.environ.get("PREFECT_HOME")
    return Path(named).expanduser() if named else Path(__file__).resolve().parent.parent / ".prefect"


def healthy(api_url: str, seconds: float = 2.0) -> bool:
    """Whether the API answers."""
    headers = {}
    # Self-hosted servers behind a login, and Prefect Cloud.
    if key := os.environ.get("PREFECT_API_KEY"):
        headers["Authorization"] = f"Bearer {key}"
    request = urllib.request.Request(f"{api_url}/health", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=seconds) as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError as error:
        return error.code in (401, 403)  # it is there; the login is checked by Prefect's client
    except (urllib.error.URLError, OSError):
        return False


def _wait(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def _alive(server: PrefectServer) -> bool:
    """Whether the process is there and is the server that we started, not a later process with its number."""
    try:
        process = psutil.Process(server.pid)
        return process.create_time() == server.created and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def find() -> PrefectServer | None:
    """The server that :func:`start` has left running, if it lives."""
    description = home() / "server.json"
    if not description.exists():
        return None
    server = PrefectServer(**json.loads(description.read_text()))
    return server if _alive(server) else None


def _free_port() -> int:
    for port in (_USUAL_PORT, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise PrefectServerError(f"no free port on {HOST} for the Prefect server: end a program that listens there.")


def server_environment(port: int) -> dict[str, str]:
    """The environment of a server that is private to this repository, quiet and offline."""
    return {
        **os.environ,
        "PREFECT_HOME": str(home().resolve()),
        "PREFECT_SERVER_UI_API_URL": f"http://{HOST}:{port}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "DO_NOT_TRACK": "1",
    }


@contextmanager
def _starting() -> Iterator[None]:
    """One start at a time."""
    try:
        home().mkdir(parents=True, exist_ok=True)
        lock = (home() / "start.lock").open("a")
    except OSError as error:
        raise PrefectServerError(
            f"{home()} cannot be written ({error.strerror}): make it writable, or set PREFECT_API_URL to a server."
        ) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def start() -> PrefectServer:
    """The server of this repository, started if it does not run; returns when its API answers.

    Raises:
        PrefectServerError: it did not start; with the end of its log.
    """
    with _starting():
        running = find() or _launch()
        if not _comes_up(running) and not _alive(running):
            # Another program has taken the port since we looked: there is a free one now, or the log says why not.
            running = _launch()
    if not _comes_up(running):
        raise PrefectServerError(
            f"the Prefect server on {running.api_url} did not start; its log {home() / 'server.log'} ends with:\n"
            + "\n".join((home() / "server.log").read_text(errors="replace").splitlines()[-15:])
        )
    return running


def _comes_up(server: PrefectServer) -> bool:
    """Wait until the server answers; False when its process has ended, or does not answer in time."""

    def answers() -> bool:
        return healthy(server.api_url) and _listens(server)

    return _wait(lambda: answers() or not _alive(server), _START_SECONDS) and _alive(server)


def _listens(server: PrefectServer) -> bool:
    """Whether it is this server that has the port: another one may answer there."""
    port = urlsplit(server.api_url).port
    try:
        process = psutil.Process(server.pid)
        ours = [process, *process.children(recursive=True)]
        sockets = [found for each in ours for found in each.net_connections("tcp")]
    except psutil.NoSuchProcess:
        return False
    return any(each.status == psutil.CONN_LISTEN and each.laddr.port == port for each in sockets)


def _launch() -> PrefectServer:
    port = _free_port()
    with (home() / "server.log").open("a") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "prefect", "server", "start", "--host", HOST, "--port", str(port)],
            env=server_environment(port),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    created = psutil.Process(process.pid).create_time()
    server = PrefectServer(f"http://{HOST}:{port}/api", process.pid, created)
    temporary = home() / "server.json.tmp"
    temporary.write_text(json.dumps(asdict(server)))
    temporary.replace(home() / "server.json")
    return server


def stop() -> bool:
    """Stop the server that :func:`start` has left running; says whether there was one.

    Raises:
        PrefectServerError: it does not end, even when killed.
    """
    server = find()
    if server is None or server.pid is None:
        return False
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(server.pid, number)
        except ProcessLookupError:
            break
        if _wait(lambda: not _alive(server), _STOP_SECONDS):
            break
    if _alive(server):
        log = home() / "server.log"
        raise PrefectServerError(f"the Prefect server (process {server.pid}) does not end: look at {log}.")
    (home() / "server.json").unlink(missing_ok=True)
    return True


def ensure() -> PrefectServer:
    """The server to use: the one that PREFECT_API_URL names, else this repository's own.

    Raises:
        PrefectServerError: the named one does not answer, or our own does not start.
    """
    named = os.environ.get("PREFECT_API_URL")
    if not named:
        return start()
    if not healthy(named, seconds=10):
        raise PrefectServerError(
            f"the Prefect server that PREFECT_API_URL names, {named}, does not answer: start it, correct the "
            "variable, or unset it to use a server on this machine."
        )
    return PrefectServer(named)


def use() -> PrefectServer:
    """Point this process, and those that it starts, at the server, before Prefect is imported.

    Raises:
        PrefectServerError: the server does not answer, or does not start.
    """
    if not os.environ.get("PREFECT_API_URL"):
        os.environ["PREFECT_HOME"] = str(home().resolve())
    server = ensure()
    os.environ["PREFECT_API_URL"] = server.api_url
    os.environ.setdefault("DO_NOT_TRACK", "1")
    return server


def check(server: PrefectServer) -> str | None:
    """See that the server in use lets us in and speaks our version, before a flow run fails by it.

    Returns:
        a sentence to be shown, when the server is older than this client.

    Raises:
        PrefectServerError: it refuses the login, is of another major version, or is no Prefect server.
    """
    import httpx
    from prefect import __version__
    from prefect.client.base import ServerType
    from prefect.client.orchestration import get_client

    client = get_client(sync_client=True)  # not entered: that compares versions, too, and says less
    try:
        client.read_flows(limit=1)
        if client.server_type is ServerType.CLOUD:  # which is up to date, and does not tell its version
            return None
        return versions_apart(client.api_version(), __version__, server)
    except httpx.HTTPStatusError as error:
        status = error.response.status_code
        if status not in (401, 403):
            raise PrefectServerError(
                f"what answers on {server.api_url} is no Prefect server (HTTP {status}): correct PREFECT_API_URL, "
                "which ends with /api."
            ) from error
        raise PrefectServerError(
            f"the Prefect server on {server.api_url} refuses the login (HTTP {status}): set PREFECT_API_KEY (Prefect "
            "Cloud) or PREFECT_API_AUTH_STRING (a server of your own) to the right one."
        ) from error
    except httpx.TransportError as error:
        raise PrefectServerError(
            f"the Prefect server on {server.api_url} broke off ({type(error).__name__}): look at its log."
        ) from error


def versions_apart(theirs: str, ours: str, server: PrefectServer) -> str | None:
    """What to say of a server that is older than its client; None when they fit.

    Raises:
        PrefectServerError: they are of different major versions, which do not understand each other.
    """
    from packaging.version import Version

    update = "run `make down`, and start again" if server.pid else f"install prefect=={ours} there and restart it"
    said = f"the Prefect server on {server.api_url} is of version {theirs}, and this project of {ours}"
    if Version(theirs).major != Version(ours).major:
        raise PrefectServerError(f"{said}, which do not understand each other: {update}.")
    if Version(theirs) < Version(ours):
        return f"{said}: what is newer, an older server may not understand. To bring it up to date, {update}."
    return None


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m flows.prefect_server", description="This repository's Prefect server."
    )
    parser.add_argument("command", choices=("start", "stop", "status"))
    command = parser.parse_args().command
    try:
        if command == "start":
            print(f"Prefect server on {start().ui_url}")
        elif command == "stop":
            print("Prefect server stopped" if stop() else "no Prefect server was running")
        else:
            server = find()
            print(f"running on {server.ui_url}" if server else "stopped")
            return 0 if server else _NOT_RUNNING
    except PrefectServerError as error:
        print(f"prefect server: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
