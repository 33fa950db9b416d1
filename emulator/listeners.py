"""The ports that the emulator listens on: on loopback, and the same ones after a restart."""

from __future__ import annotations

import logging
import socket

from emulator.errors import StartupError
from emulator.state import State

log = logging.getLogger("emulator")

HOST = "127.0.0.1"


def bind(port: int) -> socket.socket:
    """Listen on loopback; 0 takes a free port.

    Raises:
        StartupError: the port is taken.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen(512)
    except OSError as error:
        listener.close()
        raise StartupError(
            f"port {port} on {HOST} cannot be used ({error.strerror}): choose another with --port, "
            "or leave --port out to take a free one."
        ) from error
    return listener


def bind_as_before(state: State, name: str, port: int | None = None) -> socket.socket:
    """The port asked for; else that of last time, so that addresses that people have noted go on working; else any."""
    if port is not None:
        listener = bind(port)
    else:
        try:
            listener = bind(int(state.fact(f"port:{name}", lambda: "0")))
        except StartupError:
            log.warning("last time's %s port is taken by another program now; a free one is used", name)
            listener = bind(0)
    state.set_fact(f"port:{name}", str(listener.getsockname()[1]))
    return listener
