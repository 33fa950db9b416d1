"""What Prefect's UI shows of a run: artifacts under stable keys, so that it keeps their history over runs."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from flows.plots.gates import gate_plots
from flows.report import headline, render_markdown
from tasks.values import MetricComparison, RunReport

REPORT_KEY = "promotion-report"
COMPARISON_KEY = "comparison"


def publish(report: RunReport) -> None:
    """Keep the report, and the comparison if there was one, with the flow run. Called inside of one."""
    from prefect.artifacts import create_markdown_artifact, create_table_artifact

    plots = gate_plots(report.comparison, report.data)
    markdown = embedded(render_markdown(report, tuple(plots)), plots)
    create_markdown_artifact(markdown, key=REPORT_KEY, description=headline(report))
    if report.comparison is not None:
        create_table_artifact(
            [_row(row) for row in report.comparison.table],
            key=COMPARISON_KEY,
            description=" ".join(report.comparison.reasons),
        )


def embedded(markdown: str, plots: Mapping[str, bytes]) -> str:
    """Markdown with its pictures in it, in place of links to files that a browser would look for on the server."""
    for name, content in plots.items():
        markdown = markdown.replace(f"]({name})", f"](data:image/png;base64,{base64.b64encode(content).decode()})")
    return markdown


def _row(row: MetricComparison) -> dict[str, Any]:
    return {
        "metric": row.name,
        "better is": "larger" if row.larger_is_better else "smaller",
        "candidate": row.candidate,
        "production": row.production,
        "candidate is": row.verdict,
    }
