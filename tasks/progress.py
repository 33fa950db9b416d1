"""How far a long operation is: tasks say it, whoever shows it listens.

The operations run in the flow's thread or in threads of their own, so that listeners are called from any of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

Listener = Callable[[str], None]
Rows = Sequence[Sequence[str]]
RowsListener = Callable[[Rows], None]
PercentListener = Callable[[float], None]

_listener: ContextVar[Listener | None] = ContextVar("progress_listener", default=None)
_line_listener: ContextVar[Listener | None] = ContextVar("progress_line_listener", default=None)
_rows_listener: ContextVar[RowsListener | None] = ContextVar("progress_rows_listener", default=None)
_percent_listener: ContextVar[PercentListener | None] = ContextVar("progress_percent_listener", default=None)


def report(detail: str) -> None:
    """Say what the current operation is at, in a few words: ``report("Running")``."""
    listener = _listener.get()
    if listener is not None:
        listener(detail)


def report_rows(rows: Rows) -> None:
    """Show a table, its header first, below what the current operation is at; it replaces the one before."""
    listener = _rows_listener.get()
    if listener is not None:
        listener(rows)


def report_percent(percent: float) -> None:
    """Say how far the current operation has come, from 0 to 100."""
    listener = _percent_listener.get()
    if listener is not None:
        listener(percent)


def report_line(line: str) -> None:
    """Show a line of a log that is followed."""
    listener = _line_listener.get()
    if listener is not None:
        listener(line)


def lines_are_heard() -> bool:
    """Whether somebody listens to lines of logs: if not, none need be read."""
    return _line_listener.get() is not None


@contextmanager
def listening(
    listener: Listener,
    rows_listener: RowsListener | None = None,
    percent_listener: PercentListener | None = None,
    line_listener: Listener | None = None,
) -> Iterator[None]:
    """Hear what is reported inside the block, in this context."""
    token, rows_token = _listener.set(listener), _rows_listener.set(rows_listener)
    line_token = _line_listener.set(line_listener)
    percent_token = _percent_listener.set(percent_listener)
    try:
        yield
    finally:
        _listener.reset(token)
        _rows_listener.reset(rows_token)
        _percent_listener.reset(percent_token)
        _line_listener.reset(line_token)
