"""The report of a run: report.json for programs, report.md for people."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from flows.gate_report import broken_rule, comparison_lines, data_lines
from flows.markdown import fenced, inline, plain, section, table
from flows.plots.gates import gate_plots
from tasks.values import (
    LatencyProfile,
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
    plots = plots_of(report)
    for name, content in plots.items():
        (folder / name).write_bytes(content)
    _write_atomically(folder / "report.json", report.model_dump_json(indent=2) + "\n")
    _write_atomically(folder / "report.md", render_markdown(report, {name: name for name in plots}))

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
        "DataRejected": "DataRejected: the data breaks the settings' rules; nothing was trained.",
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


def explanations(report: RunReport) -> tuple[str, ...]:
    """Why the run ended as it did, in sentences: what the gates say."""
    if report.data and not report.data.accepted:
        return tuple(map(broken_rule, report.data.failures))
    return report.comparison.reasons + report.comparison.notes if report.comparison else ()


def plots_of(report: RunReport) -> dict[str, bytes]:
    """PNG files by name; only those that have something to show."""
    plots = gate_plots(report.comparison, report.data)
    if report.tuning is not None:
        from flows.plots.tuning import plot_tuning

        plots["tuning.png"] = plot_tuning(report.tuning)
    return plots


def render_markdown(report: RunReport, plots: Mapping[str, str] = MappingProxyType({})) -> str:
    """The report as GitHub and Prefect's UI show it. Sections that the run did not reach are left out.

    Args:
        plots: addresses of :func:`plots_of`, by name.
    """
    return "\n".join(_lines(report, plots)) + "\n"


def _lines(report: RunReport, plots: Mapping[str, str]) -> Iterator[str]:
    yield f"# {headline(report)}"
    yield ""
    yield f"Started {report.started:%Y-%m-%d %H:%M:%S} UTC, took {duration(report.total_seconds)}."
    if report.error:
        yield from _error(report.error)
    if report.data:
        yield from data_lines(report.data)
    if report.comparison:
        yield from comparison_lines(report.comparison)
    if report.tuning:
        yield from _tuning(report.tuning)
    if plots:
        pictures = (f"![{name.removesuffix('.png')}]({address})" for name, address in plots.items())
        yield from section("Plots", pictures)
    if report.model:
        yield from section("Model", [f"{inline(report.model.name)} version {report.model.version}"])
    if report.profile:
        resources = f"One replica gets {report.profile.cpu:g} CPU cores and {report.profile.memory_gb:g} GB of memory."
        yield from section("Profile", [resources, *_latency(report.profile.latency)])
    if report.stages:
        yield from _stages(report.stages)
    if report.timings:
        rows = [(step, duration(seconds)) for step, seconds in report.timings.items()]
        yield from section("Where the time went", table(("step", "took"), rows))
    yield from _where_to_look(report)
    if report.curl:
        yield from section("Score production", fenced(report.curl, "sh"))


def _error(error: ReportedError) -> Iterator[str]:
    yield from section("Error", [inline(error.message), "", inline(error.next_step)])
    if error.log_tail:
        yield from ["", *fenced(plain(error.log_tail))]


def _tuning(tuning: Tuning) -> Iterator[str]:
    policy = f", policy {tuning.policy}" if tuning.policy else ""
    goal = "larger" if tuning.goal == "max" else "smaller"
    best = tuning.best_trial
    lines = [
        f"{tuning.method.capitalize()} sampling{policy}: {len(tuning.trials)} trials, best {inline(tuning.metric)} "
        f"{best.metric:.6g} in trial {best.number}; {goal} is better.",
        "",
    ]
    rows = [
        (
            f"{trial.number}, best" if trial is best else str(trial.number),
            *(_value(trial.hyperparameters.get(name, "")) for name in best.hyperparameters),
            "" if trial.metric is None else f"{trial.metric:.6g}",
            trial.state,
        )
        for trial in tuning.trials
    ]
    lines += table(("trial", *best.hyperparameters, tuning.metric, "state"), rows)
    yield from section("Tuning", lines)


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
    yield from section("Stages", table(("stage", "service", "compute", "state", "tests", "took"), rows))
    tests = [
        (stage.stage, test.name, "passed" if test.passed else "FAILED", test.detail, f"{test.milliseconds:.0f} ms")
        for stage in stages
        for test in stage.tests
    ]
    if tests:
        yield from ["", *table(("stage", "test", "result", "detail", "took"), tests)]


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
    yield from section("Where to look", [f"- {name}: {inline(place)}" for name, place in places if place])
