"""History."""

from __future__ import annotations

from emulator.service import Service


class HistoryService(Service):
    """History."""
