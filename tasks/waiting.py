"""Waiting for Azure: each wait has growing pauses, says how far it is, and ends at a deadline of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextvars import copy_context
from typing import TypeVar

from tasks.errors import OperationTimeout
from tasks.progress import report, report_percent

T = TypeVar("T")

FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 10.0
_GROWTH = 1.05  # what is waited for is seen to have ended at most a twentieth of its time too late


def pauses(
    first: float = FIRST_PAUSE_SECONDS, growth: float = _GROWTH, longest: float = LONGEST_PAUSE_SECONDS
) -> Iterator[float]:
    """Seconds to wait between polls: short at first, so that short operations end soon, then ever longer."""
    pause = first
    while True:
        yield pause
        pause = min(pause * growth, longest)


def poll(
    read: Callable[[], T],
    finished: Callable[[T], bool],
    *,
    what: str,
    minutes: float,
    describe: Callable[[T], str] = str,
    percent: Callable[[T], float] | None = None,
) -> T:
    """Read again and again until ``finished``, reporting each value that is new.

    Args:
        what: the operation and its resource, for the error: "training run x".
        minutes: the deadline.
        percent: how far a value shows the operation to be, from 0 to 100.

    Raises:
        OperationTimeout: the deadline has passed; names the last value.
    """
    deadline = time.monotonic() + minutes * 60
    shown: str | None = None
    for pause in pauses():
        value = read()
        if (described := describe(value)) != shown:
            report(described)
            shown = described
            if percent is not None:
                report_percent(percent(value))
        if finished(value):
            return value
        if time.monotonic() + pause > deadline:
            break
        time.sleep(pause)
    raise _timed_out(what, minutes, f"its last state was {shown}")


def within(minutes: float, what: str, call: Callable[[], T]) -> T:
    """Call a function of the SDK that waits without end of its own, and give up on it at the deadline.

    Raises:
        OperationTimeout: the deadline has passed; the call is left alone in its thread.
    """
    outcome: list[T] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(call())
        except BaseException as error:  # noqa: BLE001 - handed to the waiting thread, which raises it
            failure.append(error)

    context = copy_context()
    thread = threading.Thread(target=lambda: context.run(run), daemon=True, name=what)
    thread.start()
    thread.join(minutes * 60)
    if failure:
        raise failure[0]
    if not outcome:
        raise _timed_out(what, minutes, "it was still going on")
    return outcome[0]


def _timed_out(what: str, minutes: float, state: str) -> OperationTimeout:
    return OperationTimeout(
        f"The {what} did not end within {minutes:g} minutes: {state}.",
        "Look at it in the Azure ML studio; raise its deadline in the settings under `waiting` if it only is slow.",
    )
