"""What a run tells its team: composed from its report, sent through a notification block of Prefect.

https://docs.prefect.io/v3/api-ref/python/prefect-blocks-notifications
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from prefect.blocks.abstract import NotificationBlock
from prefect.blocks.core import Block

from flows.report import duration, headline, plain
from tasks.values import RunReport


class Message(NamedTuple):
    """A subject of one line, and a text in markdown."""

    subject: str
    text: str


def message_of(report: RunReport) -> Message:
    """What the team is told when a run has ended, in the few lines that a chat shows; the rest is in the report."""
    return Message(f"{report.workspace.name}: {headline(report)}", "\n".join(_lines(report)))


def _lines(report: RunReport) -> Iterator[str]:
    yield f"**{headline(report)}**"
    yield ""
    if report.error:
        yield f"- {_one_line(report.error.message)}"
        yield f"- {_one_line(report.error.next_step)}"
    if report.comparison:
        for reason in report.comparison.reasons:
            yield f"- {_one_line(reason)}"
    yield f"- workspace {report.workspace.name} ({report.workspace.cloud}), {duration(report.total_seconds)}"
    if report.prefect_url:
        yield f"- [the run in Prefect]({report.prefect_url})"
    if report.run:
        yield f"- [the training run]({report.run.portal_url})"


def _one_line(text: str) -> str:
    return " ".join(plain(text).split())


def send(message: Message, block: str) -> str | None:
    """Send a message through the block that ``TYPE/NAME`` names, such as ``slack-webhook/mlops``.

    Returns:
        None when it was sent, else one sentence why not: a run does not fail because nobody could be told.
    """
    try:
        loaded = Block.load(block)
        if not isinstance(loaded, NotificationBlock):
            return f"Nobody was told: Prefect block '{block}' does not send notifications."
        with loaded.raise_on_failure():
            # Declared as async; Prefect's blocks send at once when they are called from synchronous code.
            loaded.notify(body=message.text, subject=message.subject)  # type: ignore[unused-coroutine]
    except Exception as error:  # noqa: BLE001 - whatever a block of any kind raises
        return f"Nobody was told: Prefect block '{block}' did not send the message ({_reason(error)})."
    return None


def _reason(error: Exception) -> str:
    """The error's words without addresses: that of a webhook is its secret."""
    words = re.sub(r"\w+://\S+", "(address)", _one_line(str(error)))
    return f"{type(error).__name__}: {words}" if words else type(error).__name__
