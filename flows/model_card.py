"""The model card: what a registered model is, what it was judged by, and where it comes from.

After Mitchell et al., Model Cards for Model Reporting, 2019: https://arxiv.org/abs/1810.03993.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from flows.gate_report import comparison_lines, data_lines
from flows.markdown import inline, section, table
from settings.deployment import ModelSettings
from tasks.values import DataReport, Lineage, ReportedComparison, Scoring

CARD = "model_card.md"


def model_card(
    settings: ModelSettings,
    comparison: ReportedComparison,
    data: DataReport | None,
    lineage: Lineage,
    scoring: Scoring,
    plots: Mapping[str, bytes],
) -> dict[str, bytes]:
    """The card and its plots, those of the gates, as files by name; the card is the first."""
    lines = _lines(settings, comparison, data, lineage, scoring, tuple(plots))
    return {CARD: ("\n".join(lines) + "\n").encode(), **plots}


def _lines(
    settings: ModelSettings,
    comparison: ReportedComparison,
    data: DataReport | None,
    lineage: Lineage,
    scoring: Scoring,
    plots: tuple[str, ...],
) -> Iterator[str]:
    candidate = comparison.candidate
    yield f"# Model card: {inline(settings.name)}"
    if settings.description:
        yield from ["", inline(settings.description)]
    framework = " ".join(filter(None, (settings.model_framework, settings.model_framework_version)))
    rows = [
        ("framework", framework),
        ("trained by", f"run {candidate.run_id} of experiment {candidate.experiment} on {candidate.compute_target}"),
        ("training environment", f"{candidate.environment_name}:{candidate.environment_version}"),
        ("scoring environment", f"{scoring.environment.name}:{scoring.environment.version}"),
        ("started by", lineage.started_by),
        ("flow run", lineage.flow_run_id),
        ("settings (SHA-256)", lineage.settings_sha256),
        ("test data (SHA-256)", comparison.test_data_fingerprint or ""),
    ]
    yield from section("Where it comes from", table(("", ""), [row for row in rows if row[1]]))
    if data is not None:
        yield from data_lines(data)
    metrics = [(name, f"{value:.6g}") for name, value in sorted(candidate.metrics.items())]
    yield from section("What its run logged", table(("metric", "value"), metrics))
    yield from comparison_lines(comparison)
    if plots:
        yield from section("Plots", [f"![{name.removesuffix('.png')}]({name})" for name in plots])
