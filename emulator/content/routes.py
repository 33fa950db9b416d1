"""Content."""

from __future__ import annotations

from emulator.service import Service


class ContentService(Service):
    """Content."""
