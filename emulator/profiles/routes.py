"""Profiles."""

from __future__ import annotations

from emulator.service import Service


class ProfilesService(Service):
    """Profiles."""
