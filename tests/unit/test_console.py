"""What stands on the terminal, and in a CI log, while a run goes on and when it ends."""

from __future__ import annotations

import io
import threading
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from flows.console import Console
from settings.deployment import EvaluationParameters
from tasks.comparison import compare
from tasks.errors import TrainingError
from tasks.values import (
    ModelVersion,
    ReportedComparison,
    ReportedError,
    ReportedModel,
    ReportedWorkspace,
    RunReport,
    TrainedRun,
)

pytestmark = pytest.mark.unit

CURL = (
    'curl -H "Authorization: Bearer $(python -m flows.main key prod)" -H "Content-Type: application/json" '
    "--data @code/testing/sample_request.json http://127.0.0.1:5001/api/v1/service/diabetes-prod/score"
)


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)


def columns(line: str) -> list[str]:
    """The mark, the name and the text of a line, without the seconds."""
    return [part for part in line.split() if not part.replace(".", "").isdigit() and part != "s"]


def test_a_log_has_one_plain_line_for_every_step(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    log = io.StringIO()
    with Console(stream=log) as console:
        with console.step("workspace") as step:
            step.detail("looking")
            step.detail("mlops in northeurope")
        with console.step("tuning") as step:
            step.skip("use_hyperparameter_sampling is false")
    lines = [columns(line) for line in log.getvalue().splitlines()]
    assert lines == [
        ["✓", "workspace", "mlops", "in", "northeurope"],
        ["-", "tuning", "skipped:", "use_hyperparameter_sampling", "is", "false"],
    ]
    assert "\x1b" not in log.getvalue()


def test_a_log_says_when_a_lasting_step_starts():
    log = io.StringIO()
    with Console(stream=log) as console, console.step("training", lasting=True):
        assert columns(log.getvalue()) == ["…", "training", "started"]


def test_verbose_tells_every_detail_once_as_it_comes_even_on_a_terminal():
    log = Terminal()
    with Console(verbose=True, stream=log) as console, console.step("training") as step:
        for state in ("Queued", "Running", "Running"):
            step.detail(state)
        assert log.getvalue().count("Queued") == 1
        assert log.getvalue().count("Running") == 1


def test_a_terminal_shows_the_table_of_a_running_step_and_a_log_does_without():
    table = [["child", "mse"], *([str(number), f"<{number}>"] for number in range(20))]
    for stream, shown in ((Terminal(), True), (io.StringIO(), False)):
        with Console(stream=stream) as console, console.step("tuning") as step:
            step.detail("19 of 20 done")
            step.show(table)
            if shown:
                while "<19>" not in stream.getvalue():  # drawn by the display's own thread
                    time.sleep(0.05)
        assert ("mse" in stream.getvalue()) is shown
        assert "<7>" not in stream.getvalue()  # the last twelve rows


def test_a_step_that_fails_shows_the_sentence_and_lets_the_error_through():
    log = io.StringIO()
    error = TrainingError("Run r1 failed.", "Correct train.py.", log_tail="ValueError")
    with pytest.raises(TrainingError), Console(stream=log) as console, console.step("training"):
        raise error
    assert columns(log.getvalue()) == ["✗", "training", "Run", "r1", "failed."]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError("first line\nsecond line"), "first line"),
        (ValueError(), "ValueError"),
        (KeyboardInterrupt(), "interrupted"),
    ],
)
def test_any_error_is_told_in_one_line(error, told):
    log = io.StringIO()
    with pytest.raises(type(error)), Console(stream=log) as console, console.step("training"):
        raise error
    assert len(log.getvalue().splitlines()) == 1
    assert log.getvalue().endswith(f"{told}\n")


def test_steps_of_several_threads_run_at_once_and_each_has_its_line_and_its_seconds():
    log = Terminal()
    together = threading.Barrier(8)

    def work(console: Console, name: str) -> None:
        with console.step(name) as step:
            together.wait(timeout=30)
            step.detail(f"{name} is done")

    with Console(stream=log) as console:
        threads = [threading.Thread(target=work, args=(console, f"step-{number}")) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert set(console.timings) == {f"step-{number}" for number in range(8)}
    for number in range(8):
        assert f"step-{number} is done" in log.getvalue()


def test_a_step_that_runs_twice_counts_both_times():
    with Console(stream=io.StringIO()) as console:
        with console.step("dev"):
            pass
        once = console.timings["dev"]
        with console.step("dev"):
            pass
    assert list(console.timings) == ["dev"]
    assert console.timings["dev"] > once


def test_a_terminal_shows_the_running_step_before_it_ends():
    terminal = Terminal()
    with Console(stream=terminal) as console, console.step("training") as step:
        step.detail("Queued")
        while "Queued" not in terminal.getvalue():
            time.sleep(0.02)
        assert "✓" not in terminal.getvalue()


def test_brackets_are_text_and_colours_of_others_are_dropped():
    log = io.StringIO()
    with Console(stream=log) as console:
        with console.step("training") as step:
            step.detail("[bold]mse[/bold] \x1b[31m1\x1b[0m\nnext line")
        console.say("[red]as it is[/red]")
    assert "[bold]mse[/bold] 1 next line\n[red]as it is[/red]\n" in log.getvalue()


def test_a_terminal_without_unicode_gets_ascii():
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii", write_through=True)
    with Console(stream=stream) as console, console.step("workspace") as step:
        step.detail("Zürich")
    assert columns(raw.getvalue().decode("ascii")) == ["+", "workspace", "Z?rich"]


def report(outcome: str, **fields: Any) -> RunReport:
    return RunReport.model_validate(
        {
            "outcome": outcome,
            "started": datetime(2026, 7, 1, tzinfo=timezone.utc),
            "settings": "settings/settings.json",
            "workspace": ReportedWorkspace(name="mlops", cloud="emulator"),
            "timings": {},
            "total_seconds": 41.3,
            **fields,
        }
    )


def comparison(mse: float) -> ReportedComparison:
    run = TrainedRun(
        experiment="diabetes",
        run_id="new",
        metrics={"mse": mse},
        portal_url="",
        environment_name="training",
        environment_version="1",
        compute_target="cpu-cluster",
    )
    served = ModelVersion(name="ridge", version=1, run_id="old", experiment="diabetes", metrics={"mse": 2917.18})
    return ReportedComparison.of(compare(run, served, EvaluationParameters(smaller_is_better=("mse",))))


@pytest.mark.parametrize("kind", [io.StringIO, Terminal])
def test_the_summary_of_a_promoted_run_ends_with_a_command_to_copy(kind, monkeypatch):
    stream = kind()
    monkeypatch.setenv("NO_COLOR", "1")
    Console(stream=stream).summary(
        report(
            "Promoted",
            comparison=comparison(mse=2854.97),
            model=ReportedModel(name="ridge", version=2),
            production_url="http://127.0.0.1:5001/score",
            prefect_url="http://127.0.0.1:4200/runs/flow-run/0123456789-0123456789-0123456789-0123456789",
            curl=CURL,
        ),
        Path("reports/latest/report.md"),
    )
    text = stream.getvalue()
    for told in (
        "ridge version 2 serves production.",
        "  mse 2854.97 is better than production's 2917.18 (smaller is better)",
        "http://127.0.0.1:5001/score\n",
        "reports/latest/report.md\n",
        "http://127.0.0.1:4200/runs/flow-run/0123456789-0123456789-0123456789-0123456789\n",
    ):
        assert told in text
    assert text.splitlines()[-1] == CURL


def test_the_summary_of_a_failed_run_tells_the_next_step_and_the_log():
    log = io.StringIO()
    error = ReportedError(
        message="Run r1 failed.", next_step="Correct train.py.", log_tail="Traceback:\n  \x1b[31mno\x1b[0m"
    )
    Console(stream=log).summary(report("Failed", error=error))
    assert "  Run r1 failed.\n  Correct train.py.\n\n  Traceback:\n    no\n" in log.getvalue()
