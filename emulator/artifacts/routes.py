"""Artifacts."""

from __future__ import annotations

from emulator.service import Service


class ArtifactsService(Service):
    """Artifacts."""
