"""Live, readable progress on the terminal: one line for every step, and a summary at the end.

On a terminal the running steps stand below the finished ones, each with a spinner and its seconds. Elsewhere, as in a
CI log, and with ``verbose``, where other output comes in between, there are plain lines only.
"""

from __future__ import annotations

import io
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TextIO

import rich.console
from rich.live import Live
from rich.padding import Padding
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from flows.markdown import plain
from flows.report import duration, explanations, headline
from tasks.errors import MlopsError
from tasks.progress import Listener, Rows
from tasks.values import RunReport

_NAME_WIDTH = 20
_SECONDS_WIDTH = 10
_LARGEST_TABLE = 12  # rows below a running step: the last ones
_OUTCOME_STYLES = {
    "Promoted": "bold green",
    "NotPromoted": "bold yellow",
    "Compared": "bold yellow",
    "DataRejected": "bold yellow",
    "NotApproved": "bold yellow",
    "Restored": "bold green",
    "RolledBack": "bold red",
    "Failed": "bold red",
}


class StepProgress:
    """A step that runs; tells the console how far it is."""

    def __init__(self, console: Console, name: str) -> None:
        self._console = console
        self._started = time.monotonic()
        self.name = name
        self.text = ""
        self.rows: Rows = ()
        self.skipped = False

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started

    def detail(self, text: str) -> None:
        """Show ``text``, for example the state that Azure reports, beside the step's name until the next one."""
        text = _one_line(text)
        if text != self.text:
            self.text = text
            self._console._detail_changed(self)

    def show(self, rows: Rows) -> None:
        """Show a table, its header first, below the step while it runs; a log does without."""
        self.rows = rows

    @property
    def log(self) -> Listener | None:
        """Shows a line of a log that is followed; None when nobody wants to see it."""
        return self._console.show_log_line if self._console.verbose else None

    def skip(self, reason: str) -> None:
        """Say that there was nothing to do, and why."""
        self.text = _one_line(reason)
        self.skipped = True


class Console:
    """Shows steps, several of which may run at once in threads.

    Args:
        verbose: plain lines only, with every detail as it comes.
        stream: where to; the standard output of the moment when the console is made, if None.
    """

    def __init__(self, verbose: bool = False, stream: TextIO | None = None) -> None:
        stream = stream or sys.stdout
        if isinstance(stream, io.TextIOWrapper):
            # An error may quote any text: a terminal that cannot show a character gets "?" instead of a crash.
            stream.reconfigure(errors="replace")
        unicode = (getattr(stream, "encoding", None) or "utf-8").lower().startswith("utf")
        self._passed, self._failed, self._skipped, self._running = (
            ("✓", "✗", "-", "…") if unicode else ("+", "x", "-", ".")
        )
        self._spinner = Spinner("dots" if unicode else "line", style="cyan")
        self.verbose = verbose
        # Guards the two below. Never held while printing: rich draws the running steps under a lock of its own.
        self._lock = threading.Lock()
        self._steps: list[StepProgress] = []
        self._timings: dict[str, float] = {}
        # A CI service may set FORCE_COLOR; its log still cannot be drawn upon, so only the stream itself is asked.
        self._console = rich.console.Console(file=stream, force_terminal=stream.isatty(), highlight=False)
        self._overflow: rich.console.OverflowMethod = "ellipsis" if unicode else "crop"
        self._live: Live | None = None
        if self._console.is_terminal and not self._console.is_dumb_terminal and not verbose:
            self._live = Live(
                get_renderable=self._draw_running,
                console=self._console,
                refresh_per_second=8,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )

    def __enter__(self) -> Console:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    @property
    def timings(self) -> dict[str, float]:
        """Seconds by step, in the order in which they ended; the sum for a step that ran more than once."""
        with self._lock:
            return dict(self._timings)

    @contextmanager
    def step(self, name: str, *, lasting: bool = False) -> Iterator[StepProgress]:
        """Show a step while the ``with`` block runs. An exception marks it as failed and goes on.

        Args:
            lasting: expected to take long, so that a log without live display says when it starts.
        """
        step = StepProgress(self, name)
        with self._lock:
            self._steps.append(step)
        if not self._live and (lasting or self.verbose):
            self._print_line(self._running, "cyan", step, None, "started")
        try:
            yield step
        except BaseException as error:
            self._finish(step, self._failed, "red", _sentence(error))
            raise
        if step.skipped:
            self._finish(step, self._skipped, "dim", f"skipped: {step.text}")
        else:
            self._finish(step, self._passed, "green", step.text)

    def say(self, text: str) -> None:
        """Show a line of its own."""
        self._print(Text(plain(text)))

    def summary(self, report: RunReport, report_file: Path | None = None) -> None:
        """Show the outcome, why, where production answers, and where to read more.

        Args:
            report_file: where the report was written.
        """
        self._console.print()
        outcome, _, rest = headline(report).partition(":")
        took = f" ({duration(report.total_seconds)})"
        self._print(Text.assemble((outcome, _OUTCOME_STYLES[outcome]), ":", rest, (took, "dim")))
        for reason in explanations(report):
            self._print(Text(_one_line(reason)), indent=2)
        if report.error:
            self._print(Text(_one_line(report.error.message)), indent=2)
            self._print(Text(_one_line(report.error.next_step)), indent=2)
            if report.error.log_tail:
                self._console.print()
                for line in plain(report.error.log_tail).strip("\n").splitlines():
                    self._console.print(Text(f"  {line}", style="dim"), soft_wrap=True)
        self._console.print()
        for name, place in (
            ("production", report.production_url),
            ("report", str(report_file) if report_file else None),
            ("Prefect", report.prefect_url),
        ):
            if place:
                # Never wrapped by us: whoever copies an address or a command copies it whole.
                self._console.print(Text.assemble((f"{name:<12}", "dim"), place), soft_wrap=True)
        if report.curl:
            self._console.print()
            self._console.print(Text(report.curl), soft_wrap=True)

    def show_log_line(self, line: str) -> None:
        """Show a line of a log, as it is."""
        self._console.print(Text(f"  {plain(line)}", style="dim"), soft_wrap=True)

    def _print(self, text: Text, indent: int = 0) -> None:
        """Print prose, wrapped at words for a person and left whole for a log."""
        if self._live:
            self._console.print(Padding(text, (0, 0, 0, indent), expand=False))
        else:
            self._console.print(Text(" " * indent).append(text), soft_wrap=True)

    def _detail_changed(self, step: StepProgress) -> None:
        if self.verbose:
            self._print_line(self._running, "cyan", step, None, step.text)

    def _finish(self, step: StepProgress, mark: str, style: str, text: str) -> None:
        seconds = step.seconds
        with self._lock:
            self._steps.remove(step)
            self._timings[step.name] = self._timings.get(step.name, 0.0) + seconds
        self._print_line(mark, style, step, seconds, text)

    def _print_line(self, mark: str, style: str, step: StepProgress, seconds: float | None, text: str) -> None:
        took = "" if seconds is None else duration(seconds)
        if self._live:
            table = self._grid("fold")
            table.add_row(Text(mark, style), step.name, Text(took, "dim"), Text(text))
            self._console.print(table)
        else:
            columns = (f"{step.name:<{_NAME_WIDTH}}", f"{took:>{_SECONDS_WIDTH}}", text)
            line = Text.assemble((mark, style), " ", " ".join(columns).rstrip())
            self._console.print(line, soft_wrap=True)

    def _draw_running(self) -> Table:
        with self._lock:
            steps = tuple(self._steps)
        table = self._grid(self._overflow)
        for step in steps:
            took = Text(duration(step.seconds), "dim")
            table.add_row(self._spinner, step.name, took, Text(step.text, no_wrap=True, overflow=self._overflow))
            if step.rows:
                table.add_row("", "", "", _draw_rows(step.rows))
        return table

    def _grid(self, overflow: rich.console.OverflowMethod) -> Table:
        table = Table.grid(padding=(0, 1, 0, 0), expand=True)
        table.add_column(width=1)
        table.add_column(width=_NAME_WIDTH, overflow="fold")
        table.add_column(width=_SECONDS_WIDTH, justify="right")
        table.add_column(ratio=1, overflow=overflow)
        return table


def _draw_rows(rows: Rows) -> Table:
    header, *rest = rows
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in header:
        table.add_column(Text(name), no_wrap=True)
    for row in rest[-_LARGEST_TABLE:]:
        table.add_row(*map(Text, row))
    return table


def _one_line(text: str) -> str:
    return " ".join(plain(text).split())


def _sentence(error: BaseException) -> str:
    """What a step that failed says: the error's own sentence; its next step and log come in the summary."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, MlopsError):
        return _one_line(error.message)
    return _one_line(str(error).partition("\n")[0]) or type(error).__name__
