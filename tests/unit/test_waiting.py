"""Waiting: growing pauses, what is reported, and the deadline."""

from __future__ import annotations

import itertools
import threading

import pytest

from tasks.errors import OperationTimeout
from tasks.progress import listening, report
from tasks.waiting import LONGEST_PAUSE_SECONDS, pauses, poll, within

pytestmark = pytest.mark.unit


def test_pauses_start_short_and_grow_to_the_longest() -> None:
    first = list(itertools.islice(pauses(), 100))

    assert first[0] == pytest.approx(0.2)
    assert first == sorted(first)
    assert first[-1] == LONGEST_PAUSE_SECONDS


def test_polling_ends_with_the_first_value_that_is_final_and_reports_each_change_once() -> None:
    states = iter(["Queued", "Queued", "Running", "Completed"])
    seen: list[str] = []

    with listening(seen.append):
        last = poll(lambda: next(states), lambda state: state == "Completed", what="training run r", minutes=1)

    assert last == "Completed"
    assert seen == ["Queued", "Running", "Completed"]


def test_a_deadline_names_the_operation_and_its_last_state() -> None:
    with pytest.raises(OperationTimeout, match=r"training run r did not end within 0\.001 minutes: .*Running"):
        poll(lambda: "Running", lambda _: False, what="training run r", minutes=0.001)


def test_a_call_that_never_returns_is_given_up() -> None:
    never = threading.Event()

    with pytest.raises(OperationTimeout, match="provisioning of x did not end"):
        within(0.001, "provisioning of x", never.wait)
    never.set()


def test_a_call_within_its_deadline_gives_its_result_or_its_own_error() -> None:
    def broken() -> None:
        raise ValueError("no quota")

    assert within(1, "provisioning of x", lambda: 42) == 42
    with pytest.raises(ValueError, match="no quota"):
        within(1, "provisioning of x", broken)


def test_progress_is_heard_from_the_thread_that_a_wait_uses() -> None:
    seen: list[str] = []

    with listening(seen.append):
        within(1, "provisioning of x", lambda: report("creating"))
    report("nobody listens any more")

    assert seen == ["creating"]
