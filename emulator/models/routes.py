"""Models."""

from __future__ import annotations

from emulator.service import Service


class ModelsService(Service):
    """Models."""
