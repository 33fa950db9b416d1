"""What every Azure ML service of the emulator looks like.

Each service is a folder with the same few files: ``routes.py`` (its table of paths and the handlers, which read a
request, call and answer), ``store.py`` (what it keeps and how that changes) and ``payloads.py`` (what it keeps, as the
SDK wants to read it). Services that do real work have a module more, named by that work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from emulator.routing import Route
    from emulator.server import Emulator


class Service:
    """Base of all services: made once with the emulator, started before the first request, stopped after the last."""

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        self.state = emulator.state

    def routes(self) -> list[Route]:
        """The service's table, in the order in which paths are tried."""
        return []

    async def start(self) -> None:
        """Take up again what the state says was going on when the emulator last stopped."""

    async def stop(self) -> None:
        """End every process that the service has started."""
