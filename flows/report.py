"""The report of a run: report.json for programs, report.md for people."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from tasks.comparison import tell_apart
from tasks.values import (
    LatencyProfile,
    ReportedComparison,
    ReportedError,
    RunReport,
    StageReport,
    Tuning,
)


def write_report(report: RunReport, directory: Path) -> Path:
    """Write report.json and report.md into a folder of their own below ``directory``, and point ``latest`` at it.

    A reader never sees half a file, and ``latest`` never points at nothing. Returns the path of report.md.
    """
    folder = directory / _folder_name(report)
    folder.mkdir(parents=True, exist_ok=True)
    _write_atomically(folder / "report.json", report.model_dump_json(indent=2) + "\n")
    images = plots(report)
    for name, image in images.items():
        (folder / name).write_bytes(image)
    _write_atomically(folder / "report.md", render_markdown(report, {name: name for name in images}))

    link = directory / f".latest-{os.getpid()}"
    link.unlink(missing_ok=True)
    link.symlink_to(folder.name, target_is_directory=True)
    link.replace(directory / "latest")
    return folder / "report.md"


def _folder_name(report: RunReport) -> str:
    # The time comes first, so that folders sort. The run alone would not do: a cached one is reported more than once.
    started = f"{report.started:%Y%m%dT%H%M%SZ}"
    return f"{started}-{report.run.id}" if report.run else started


def _write_atomically(path: Path, text: str) -> None:
    unfinished = path.with_name(f".{path.name}-{os.getpid()}")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)


def headline(report: RunReport) -> str:
    """The outcome in one sentence."""
    production = report.comparison.production if report.comparison else None
    kept = (
        f"production keeps {production.name} version {production.version}" if production else "production is untouched"
    )
    model = f"{report.model.name} version {report.model.version}" if report.model else "the model"
    return {
        "Promoted": f"Promoted: {model} serves production.",
        "NotPromoted": f"NotPromoted: {kept}.",
        "Compared": f"Compared: {kept}, which the candidate would beat.",
        "RolledBack": f"RolledBack: {model} did not hold in production; {kept}.",
        "Failed": "Failed: the run ended with an error.",
    }[report.outcome]


def duration(seconds: float) -> str:
    """``4.2 s`` below a minute, ``3 min 05 s`` from there."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s"


def plots(report: RunReport) -> dict[str, bytes]:
    """PNG files by name, of what the run has to show."""
    if report.tuning is None:
        return {}
    from flows.plots.tuning import plot_tuning

    return {"tuning.png": plot_tuning(report.tuning)}


def render_markdown(report: RunReport, images: Mapping[str, str] = MappingProxyType({})) -> str:
    """The report as GitHub and Prefect's UI show it. Sections that the run did not reach are left out.

    Args:
        images: addresses of :func:`plots`, by name.
    """
    return "\n".join(_lines(report, images)) + "\n"


def _lines(report: RunReport, images: Mapping[str, str]) -> Iterator[str]:
    yield f"# {headline(report)}"
    yield ""
    yield f"Started {report.started:%Y-%m-%d %H:%M:%S} UTC, took {duration(report.total_seconds)}."
    if report.error:
        yield from _error(report.error)
    if report.comparison:
        yield from _comparison(report.comparison)
    if report.tuning:
        yield from _tuning(report.tuning, images.get("tuning.png"))
    if report.model:
        yield from _section("Model", [f"{_inline(report.model.name)} version {report.model.version}"])
    if report.profile:
        resources = f"One replica gets {report.profile.cpu:g} CPU cores and {report.profile.memory_gb:g} GB of memory."
        yield from _section("Profile", [resources, *_latency(report.profile.latency)])
    if report.stages:
        yield from _stages(report.stages)
    if report.timings:
        rows = [(step, duration(seconds)) for step, seconds in report.timings.items()]
        yield from _section("Where the time went", _table(("step", "took"), rows))
    yield from _where_to_look(report)
    if report.curl:
        yield from _section("Score production", _fenced(report.curl, "sh"))


def _error(error: ReportedError) -> Iterator[str]:
    yield from _section("Error", [_inline(error.message), "", _inline(error.next_step)])
    if error.log_tail:
        yield from ["", *_fenced(plain(error.log_tail))]


def _comparison(comparison: ReportedComparison) -> Iterator[str]:
    rows = []
    for row in comparison.table:
        candidate, production = tell_apart(row.candidate, row.production)
        direction = "larger" if row.larger_is_better else "smaller"
        rows.append((row.name, direction, candidate, production, row.verdict))
    reasons = [f"- {_inline(reason)}" for reason in comparison.reasons]
    table = _table(("metric", "better is", "candidate", "production", "candidate is"), rows) if rows else []
    yield from _section("Why", [*reasons, *([""] if table else []), *table])


def _tuning(tuning: Tuning, image: str | None) -> Iterator[str]:
    policy = f", policy {tuning.policy}" if tuning.policy else ""
    goal = "larger" if tuning.goal == "max" else "smaller"
    best = tuning.best_trial
    lines = [
        f"{tuning.method.capitalize()} sampling{policy}: {len(tuning.trials)} trials, best {_inline(tuning.metric)} "
        f"{best.metric:.6g} in trial {best.number}; {goal} is better.",
        "",
    ]
    if image is not None:
        lines += [f"![{_inline(tuning.metric)} over the trials, and against each parameter]({image})", ""]
    rows = [
        (
            f"{trial.number}, best" if trial is best else str(trial.number),
            *(_value(trial.hyperparameters.get(name, "")) for name in best.hyperparameters),
            "" if trial.metric is None else f"{trial.metric:.6g}",
            trial.state,
        )
        for trial in tuning.trials
    ]
    lines += _table(("trial", *best.hyperparameters, tuning.metric, "state"), rows)
    yield from _section("Tuning", lines)


def _value(hyperparameter: object) -> str:
    return f"{hyperparameter:.6g}" if isinstance(hyperparameter, float) else str(hyperparameter)


def _latency(latency: LatencyProfile) -> Iterator[str]:
    measured = [(name.removesuffix("_ms"), f"{ms:g} ms") for name, ms in latency if ms is not None]
    if measured:
        yield "It answers within " + ", ".join(f"{ms} ({percentile})" for percentile, ms in measured) + "."


def _stages(stages: Sequence[StageReport]) -> Iterator[str]:
    rows = []
    for stage in stages:
        compute = " ".join(filter(None, (stage.compute_type, stage.cluster_purpose)))
        passed = f"{sum(test.passed for test in stage.tests)} of {len(stage.tests)} passed"
        rows.append((stage.stage, stage.service, compute, stage.state, passed, duration(stage.seconds)))
    yield from _section("Stages", _table(("stage", "service", "compute", "state", "tests", "took"), rows))
    tests = [
        (stage.stage, test.name, "passed" if test.passed else "FAILED", test.detail, f"{test.milliseconds:.0f} ms")
        for stage in stages
        for test in stage.tests
    ]
    if tests:
        yield from ["", *_table(("stage", "test", "result", "detail", "took"), tests)]


def _where_to_look(report: RunReport) -> Iterator[str]:
    places = [
        ("production", report.production_url),
        ("flow run in Prefect", report.prefect_url),
        (
            "training run",
            report.run and f"{report.run.id} in experiment {report.run.experiment}: {report.run.portal_url}",
        ),
        ("tuning", report.tuning and f"{report.tuning.run_id}: {report.tuning.portal_url}"),
        ("workspace", f"{report.workspace.name} ({report.workspace.cloud})"),
        ("settings", report.settings),
    ]
    yield from _section("Where to look", [f"- {name}: {_inline(place)}" for name, place in places if place])


def _section(title: str, lines: Iterable[str]) -> Iterator[str]:
    yield from ["", f"## {title}", "", *lines]


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield f"|{'---|' * len(header)}"
    for row in rows:
        yield f"| {' | '.join(map(_cell, row))} |"


def _cell(text: str) -> str:
    return _inline(text).replace("\\", "\\\\").replace("|", "\\|")


def _inline(text: str) -> str:
    return " ".join(plain(text).split())


def _fenced(text: str, language: str = "") -> Iterator[str]:
    # A fence longer than any in the text: a log may hold markdown.
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    yield from [f"{fence}{language}", text.strip("\n"), fence]


def plain(text: str) -> str:
    """``text`` without the colours and other control sequences that a log may hold."""
    return re.sub(r"\x1b\[[0-?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f]", "", text)
