"""What Prefect's UI shows of a run: artifacts under stable keys, so that it keeps their history over runs."""

from __future__ import annotations

import base64
from typing import Any

from flows.report import headline, plots_of, render_markdown
from tasks.values import MetricComparison, RunReport

REPORT_KEY = "promotion-report"
COMPARISON_KEY = "comparison"


def publish(report: RunReport) -> None:
    """Keep the report, and the comparison if there was one, with the flow run. Called inside of one."""
    from prefect.artifacts import create_markdown_artifact, create_table_artifact

    plots = {name: data_uri(plot) for name, plot in plots_of(report).items()}
    create_markdown_artifact(render_markdown(report, plots), key=REPORT_KEY, description=headline(report))
    if report.comparison is not None:
        create_table_artifact(
            [_row(row) for row in report.comparison.table],
            key=COMPARISON_KEY,
            description=" ".join(report.comparison.reasons),
        )


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
