"""What Prefect's UI shows of a run: artifacts under stable keys, so that it keeps their history over runs."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

from flows.report import headline, render_markdown
from tasks.values import MetricComparison, RunReport

REPORT_KEY = "promotion-report"
COMPARISON_KEY = "comparison"


def publish(report: RunReport, images: Mapping[str, bytes]) -> None:
    """Keep the report, and the comparison if there was one, with the flow run. Called inside of one.

    Args:
        images: PNG files of the report, by name.
    """
    addresses = {name: data_uri(image) for name, image in images.items()}
    create_markdown_artifact(render_markdown(report, addresses), key=REPORT_KEY, description=headline(report))
    if report.comparison is not None:
        create_table_artifact(
            [_row(row) for row in report.comparison.table],
            key=COMPARISON_KEY,
            description=" ".join(report.comparison.reasons),
        )


class StepProgress:
    """How far a long step has come, as an artifact ``progress-<step>``; made when the step first says it."""

    def __init__(self, step: str) -> None:
        self._step = step
        self._artifact: UUID | None = None

    def show(self, percent: float) -> None:
        if self._artifact is None:
            key = f"progress-{re.sub('[^a-z0-9]+', '-', self._step.lower()).strip('-')}"
            made = create_progress_artifact(percent, key=key, description=f"How far the step '{self._step}' has come.")
            self._artifact = made if isinstance(made, UUID) else None
        else:
            update_progress_artifact(self._artifact, progress=percent)


def data_uri(png: bytes) -> str:
    """An image that needs no address of its own."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _row(row: MetricComparison) -> dict[str, Any]:
    return {
        "metric": row.name,
        "better is": "larger" if row.larger_is_better else "smaller",
        "candidate": row.candidate,
        "production": row.production,
        "candidate is": row.verdict,
    }
