"""Services over HTTPS with certificates of their own: a loopback port for each ACI service and each AKS cluster."""

from __future__ import annotations

import asyncio
import socket
import ssl
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from emulator.listeners import HOST, bind_as_before
from emulator.state import Record, State


@dataclass(frozen=True)
class FrontEnd:
    """Where the services of one ACI container group or AKS cluster are reached over HTTPS.

    Attributes:
        name: of the service or the cluster, with its workspace.
        host: what the address says: the certificate's name if it is one of this machine, else 127.0.0.1.
        certificate: and its chain, PEM.
        key: of the certificate, PEM.
    """

    name: str
    host: str
    certificate: str
    key: str = field(repr=False)


def reachable_host(cname: str | None) -> str:
    """A certificate's name as far as it leads to this machine without a name server."""
    return cname if cname == "localhost" else HOST


def front_end_of_service(scope: str, name: str, configuration: Record) -> FrontEnd | None:
    """Of an ACI service with TLS.

    Args:
        scope: the workspace's id.
        name: of the service.
        configuration: as it is kept.
    """
    if not configuration.get("sslEnabled"):
        return None
    certificate, key = configuration["sslCertificate"], configuration["sslKey"]
    return FrontEnd(f"{scope}/aci/{name}", reachable_host(configuration["cname"]), certificate, key)


def front_end_of_cluster(scope: str, name: str, inner: Record, own: Path) -> FrontEnd | None:
    """Of an AKS cluster with TLS.

    Args:
        scope: the workspace's id.
        name: of the cluster.
        inner: what is kept of it.
        own: the emulator's own certificate and key in one file, which stand in for those that Microsoft issues for a
            leaf domain label.
    """
    settings = inner.get("sslConfiguration") or {}
    name = f"{scope}/aks/{name.lower()}"
    if settings.get("status") == "Enabled":
        return FrontEnd(name, reachable_host(settings["cname"]), settings["cert"], settings["key"])
    if settings.get("status") == "Auto":
        pem = own.read_text()
        return FrontEnd(name, HOST, pem, pem)
    return None


class TlsPorts:
    """Listens for as many front ends as there are.

    Args:
        state: keeps which port each of them had.
        app: what answers, for a front end's name.
    """

    def __init__(self, state: State, app: Callable[[str], web.Application]) -> None:
        self._state = state
        self._app = app
        self._open: dict[str, _Port] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def open(self, front_end: FrontEnd) -> None:
        """Listen for a front end, with this certificate from now on."""
        port = self._open.get(front_end.name)
        if port is None:
            listener = bind_as_before(self._state, f"scoring:{front_end.name}")
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            # Whoever connects before it runs waits in the socket's queue.
            site = asyncio.create_task(self._serve(front_end.name, listener, context))
            port = self._open[front_end.name] = _Port(listener.getsockname()[1], context, site)
        if port.shown != front_end:
            _load(port.context, front_end)
            port.shown = front_end

    def url(self, front_end: FrontEnd) -> str | None:
        """Where it is reached; ``None`` while it is not open."""
        port = self._open.get(front_end.name)
        return None if port is None else f"https://{front_end.host}:{port.number}"

    def close_except(self, names: set[str]) -> None:
        """Close what no service needs any more."""
        for name in self._open.keys() - names:
            task = asyncio.create_task(_end(self._open.pop(name)))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def stop(self) -> None:
        self.close_except(set())
        await asyncio.gather(*self._closing)

    async def _serve(self, name: str, listener: socket.socket, context: ssl.SSLContext) -> web.AppRunner:
        runner = web.AppRunner(self._app(name), access_log=None, shutdown_timeout=2)
        await runner.setup()
        await web.SockSite(runner, listener, ssl_context=context).start()
        return runner


@dataclass
class _Port:
    number: int
    context: ssl.SSLContext
    site: asyncio.Task[web.AppRunner]
    shown: FrontEnd | None = None


async def _end(port: _Port) -> None:
    await (await port.site).cleanup()


def _load(context: ssl.SSLContext, front_end: FrontEnd) -> None:
    # The ssl module reads files only. New connections get what was loaded last.
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:  # readable by its owner only
        file.write(front_end.certificate + "\n" + front_end.key)
        file.flush()
        context.load_cert_chain(file.name)
