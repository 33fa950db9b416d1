"""Datasets."""

from __future__ import annotations

from emulator.service import Service


class DatasetsService(Service):
    """Datasets."""
