"""The report of a run: report.json for programs, report.md for people."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from flows.gate_report import broken_rule, comparison_lines, data_lines
from flows.markdown import fenced, inline, link, plain, section, table
from flows.plots.gates import gate_plots
from flows.studio import model_page, service_page, workspace_page
from tasks.values import (
    Approval,
    CanaryStep,
    LatencyProfile,
    Load,
    ReportedError,
    RunReport,
    StageReport,
    Tuning,
)

_TUNING_PLOT = "tuning.png"
_LATENCY_PLOT = "latency.png"
_PLOTS_ELSEWHERE = (_TUNING_PLOT, _LATENCY_PLOT)  # than in a section of their own


def write_report(report: RunReport, directory: Path, images: Mapping[str, bytes] = MappingProxyType({})) -> Path:
    """Write report.json and report.md into a folder of their own below ``directory``, and point ``latest`` at it.

    A reader never sees half a file, and ``latest`` never points at nothing. Returns the path of report.md.

    Args:
        images: what :func:`plots` has drawn; written beside the report.
    """
    folder = directory / _folder_name(report)
    folder.mkdir(parents=True, exist_ok=True)
    _write_atomically(folder / "report.json", report.model_dump_json(indent=2) + "\n")
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
        "DataRejected": "DataRejected: the data breaks the settings' rules; nothing was trained.",
        "Compared": f"Compared: {kept}, which the candidate would beat.",
        "NotApproved": f"NotApproved: {kept}; {model} was {_decided(report)}.",
        "Restored": f"Restored: {model} serves production again.",
        "RolledBack": f"RolledBack: {model} did not hold in production; {kept}.",
        "Failed": "Failed: the run ended with an error.",
    }[report.outcome]


def _decided(report: RunReport) -> str:
    if report.approval is None or report.approval.decision == "expired":
        return "approved by nobody in time"
    return f"refused{f' by {report.approval.by}' if report.approval.by else ''}"


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


def plots(report: RunReport, of_the_gates: Mapping[str, bytes] | None = None) -> dict[str, bytes]:
    """PNG files by name, of what the run has to show.

    Args:
        of_the_gates: their plots, where the model card has them already.
    """
    images = dict(gate_plots(report.comparison, report.data) if of_the_gates is None else of_the_gates)
    if report.tuning is not None:
        from flows.plots.tuning import plot_tuning

        images[_TUNING_PLOT] = plot_tuning(report.tuning)
    if report.stages:
        from flows.plots.latency import plot_latency

        images[_LATENCY_PLOT] = plot_latency(report.stages)
    return images


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
    if report.data:
        yield from data_lines(report.data)
    if report.comparison:
        yield from comparison_lines(report.comparison)
    of_the_gates = {name: address for name, address in images.items() if name not in _PLOTS_ELSEWHERE}
    if of_the_gates:
        yield from section("Plots", _images(of_the_gates))
    if report.tuning:
        yield from _tuning(report.tuning, images.get(_TUNING_PLOT))
    if report.model:
        yield from section("Model", [f"{inline(report.model.name)} version {report.model.version}"])
    if report.profile:
        resources = f"One replica gets {report.profile.cpu:g} CPU cores and {report.profile.memory_gb:g} GB of memory."
        yield from section("Profile", [resources, *_latency(report.profile.latency)])
    if report.warnings:
        yield from section("Warnings", [f"- {inline(warning)}" for warning in report.warnings])
    if report.stages:
        yield from _stages(report.stages, images.get(_LATENCY_PLOT))
    if report.approval:
        yield from section("Approval", _approval(report.approval))
    if report.canary:
        yield from section("Canary", _canary(report.canary))
    if report.timings:
        rows = [(step, duration(seconds)) for step, seconds in report.timings.items()]
        yield from section("Where the time went", table(("step", "took"), rows))
    yield from _where_to_look(report)
    if report.curl:
        yield from section("Score production", fenced(report.curl, "sh"))


def _images(images: Mapping[str, str]) -> Iterator[str]:
    for name, address in images.items():
        yield f"![{name.removesuffix('.png')}]({address})"


def _error(error: ReportedError) -> Iterator[str]:
    yield from section("Error", [inline(error.message), "", inline(error.next_step)])
    if error.log_tail:
        yield from ["", *fenced(plain(error.log_tail))]


def _tuning(tuning: Tuning, image: str | None) -> Iterator[str]:
    policy = f", policy {tuning.policy}" if tuning.policy else ""
    goal = "larger" if tuning.goal == "max" else "smaller"
    best = tuning.best_trial
    lines = [
        f"{tuning.method.capitalize()} sampling{policy}: {len(tuning.trials)} trials, best {inline(tuning.metric)} "
        f"{best.metric:.6g} in trial {best.number}; {goal} is better.",
        "",
    ]
    if image is not None:
        lines += [f"![{inline(tuning.metric)} over the trials, and against each parameter]({image})", ""]
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


def _stages(stages: Sequence[StageReport], image: str | None) -> Iterator[str]:
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
    if image is not None:
        yield from ["", f"![latency by stage]({image})"]
    loads = [(stage.stage, *_measured(stage.load)) for stage in stages if stage.load]
    if loads:
        yield from ["", *table(("stage", *_MEASURED), loads)]


_MEASURED = ("requests", "p50", "p95", "p99", "errors", "requests/s")


def _measured(load: Load) -> tuple[str, ...]:
    latencies = (f"{ms:g} ms" for ms in (load.p50_ms, load.p95_ms, load.p99_ms))
    return (str(load.requests), *latencies, f"{load.error_rate:.2%}", f"{load.requests_per_second:g}")


def _approval(approval: Approval) -> Iterator[str]:
    yield f"{approval.decision.capitalize()}{f' by {inline(approval.by)}' if approval.by else ''}."
    if approval.comment:
        yield from ["", f"> {inline(approval.comment)}"]


def _canary(steps: Sequence[CanaryStep]) -> Iterator[str]:
    rows = [
        (f"{step.percent} %", who, *_measured(load), "; ".join(step.exceeded) or "kept")
        for step in steps
        for who, load in (("new version", step.candidate), ("former version", step.former), ("endpoint", step.endpoint))
    ]
    yield from table(("traffic", "asked", *_MEASURED, "bounds"), rows)


def _where_to_look(report: RunReport) -> Iterator[str]:
    places = [
        ("production", report.production_url and link(report.production_url, report.production_url)),
        ("flow run in Prefect", report.prefect_url and link(report.prefect_url, report.prefect_url)),
        *_in_azure(report),
        ("settings", inline(report.settings)),
    ]
    yield from section("Where to look", [f"- {name}: {place}" for name, place in places if place])


def _in_azure(report: RunReport) -> Iterator[tuple[str, str]]:
    """Run, model, production service and workspace, with links to their pages where there is a studio."""
    studio = report.workspace.studio
    if run := report.run:
        yield "training run", f"{link(run.id, studio and run.portal_url)} in experiment {inline(run.experiment)}"
    if tuning := report.tuning:
        yield "tuning", link(tuning.run_id, studio and tuning.portal_url)
    if model := report.model:
        yield "model", link(f"{model.name} version {model.version}", model_page(studio, model.name, model.version))
    for stage in report.stages:
        if stage.stage == "prod":  # those of dev and test are gone after the run
            yield "service", link(stage.service, service_page(studio, stage.service))
    where = report.workspace.cloud if studio else f"{report.workspace.cloud}, which has no studio to link to"
    yield "workspace", f"{link(report.workspace.name, workspace_page(studio))} ({where})"
