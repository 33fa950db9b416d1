"""Environments."""

from __future__ import annotations

from emulator.service import Service


class EnvironmentsService(Service):
    """Environments."""
