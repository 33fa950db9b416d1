"""What the two gates saw, as sections of the report and of the model card."""

from __future__ import annotations

from collections.abc import Iterator

from flows.markdown import inline, section, table
from tasks.gate.rules import tell_apart
from tasks.values import DataFailure, DataReport, ReportedComparison

_FINGERPRINT_CHARACTERS = 12


def data_lines(data: DataReport) -> Iterator[str]:
    """The data gate: the data, the rules that it breaks, and its drift."""
    lines = [
        f"{inline(data.source)}: {data.rows} rows, {data.columns} columns, fingerprint "
        f"`{data.fingerprint[:_FINGERPRINT_CHARACTERS]}`.",
        "",
    ]
    if data.failures:
        header = ("check", "column", "rule", "seen", "how many", "first rows")
        lines += table(header, map(_failure_cells, data.failures))
    else:
        lines.append("It keeps every rule of the settings.")
    if data.drift:
        rows = [
            (
                column.column,
                f"{column.psi:.3g}",
                "" if column.ks is None else f"{column.ks:.3g}",
                _moved(column.drifted),
            )
            for column in data.drift
        ]
        limits = ", ".join(f"{name} {limit:g}" for name, limit in (("PSI", data.max_psi), ("KS", data.max_ks)) if limit)
        lines += ["", f"Compared with {inline(data.reference or '')}, at most {limits}:", ""]
        lines += table(("column", "PSI", "KS", "drift"), rows)
    yield from section("Data", lines)


def _moved(drifted: bool) -> str:
    return "TOO FAR" if drifted else "within the limits"


def _failure_cells(failure: DataFailure) -> tuple[str, ...]:
    rows = ", ".join(map(str, failure.rows))
    return failure.check, failure.column or "", failure.rule, failure.seen, str(failure.count), rows


def broken_rule(failure: DataFailure) -> str:
    """A rule that the data breaks, in a sentence."""
    where = f"column {failure.column}" if failure.column else "rows"
    rows = f", first in row {failure.rows[0]}" if failure.rows else ""
    return f"{where}, {failure.check}: {failure.rule}, but {failure.seen} ({failure.count} in all{rows})"


def comparison_lines(comparison: ReportedComparison) -> Iterator[str]:
    """The model gate: why, and every metric and slice beside production's."""
    lines = [f"- {inline(reason)}" for reason in comparison.reasons]
    lines += [f"- note: {inline(note)}" for note in comparison.notes]
    rows = []
    for row in comparison.table:
        candidate, production = tell_apart(row.candidate, row.production)
        direction = "larger" if row.larger_is_better else "smaller"
        verdict = f"{row.verdict}, which blocks" if row.blocks else row.verdict
        improvement = "" if row.improvement is None else f"{row.improvement:.4g}"
        interval = f"{row.interval.low:.4g} to {row.interval.high:.4g}" if row.interval else ""
        rows.append((row.name, direction, candidate, production, improvement, interval, verdict))
    if rows:
        header = ("metric", "better is", "candidate", "production", "improvement", "interval", "candidate is")
        lines += ["", *table(header, rows)]
    for confidence in sorted({row.interval.confidence for row in comparison.table if row.interval}):
        lines += ["", f"Intervals are those of the improvement, by a paired bootstrap with {confidence:g} confidence."]
    yield from section("Why", lines)
