"""Metrics."""

from __future__ import annotations

from emulator.service import Service


class MetricsService(Service):
    """Metrics."""
