"""What a run tells its team, through a notification block of Prefect; and what the server tells when a run cannot.

https://docs.prefect.io/v3/api-ref/python/prefect-blocks-notifications
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from prefect.automations import AutomationCore, EventTrigger, Posture, SendNotification
from prefect.blocks.abstract import NotificationBlock
from prefect.blocks.core import Block
from prefect.client.orchestration import get_client
from prefect.settings import get_current_settings

from flows.markdown import plain
from flows.report import duration, explanations, headline
from tasks.values import RunReport
from tasks.workspace import trusting_this_machine

AUTOMATION = "train-and-promote: tell the team"


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
    for reason in explanations(report):
        yield f"- {_one_line(reason)}"
    yield f"- workspace {report.workspace.name} ({report.workspace.cloud}), {duration(report.total_seconds)}"
    if report.prefect_url:
        yield f"- [the run in Prefect]({report.prefect_url})"
    if report.run and report.workspace.studio:
        yield f"- [the training run]({report.run.portal_url})"


def _one_line(text: str) -> str:
    return " ".join(plain(text).split())


def send(message: Message, block: str) -> str | None:
    """Send a message through the block that ``TYPE/NAME`` names, such as ``slack-webhook/mlops``.

    Returns:
        None when it was sent, else one sentence why not: a run does not fail because nobody could be told.
    """
    try:
        loaded = _notification_block(block)
        with loaded.raise_on_failure(), trusting_this_machine():
            # Declared as async; Prefect's blocks send at once when they are called from synchronous code.
            loaded.notify(body=message.text, subject=message.subject)  # type: ignore[unused-coroutine]
    except Exception as error:  # noqa: BLE001 - whatever a block of any kind raises
        return f"Nobody was told: Prefect block '{block}' did not send the message ({_reason(error)})."
    return None


def _notification_block(name: str) -> NotificationBlock:
    loaded = Block.load(name)
    if not isinstance(loaded, NotificationBlock):
        raise ValueError(f"block '{name}' does not send notifications")
    return loaded


def _reason(error: Exception) -> str:
    """The error's words without addresses: that of a webhook is its secret."""
    words = re.sub(r"\w+://\S+", "(address)", _one_line(str(error)))
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


def tell_of(states: Sequence[str], block: str) -> None:
    """Have the Prefect server send a message when a run ends in one of these states.

    For Crashed nobody else can: the run's process was killed, or never got to start. One automation, made or brought up
    to date.

    Args:
        states: their names; the server emits ``prefect.flow-run.NotPromoted`` for a state of that name.
        block: that sends the message, as ``TYPE/NAME``.

    Raises:
        ValueError: there is no such block, or it does not send notifications.
    """
    run_url = f"{get_current_settings().ui_url}/runs/flow-run/{{{{ flow_run.id }}}}"
    state = "{{ flow_run.state.name }}"
    automation = AutomationCore(
        name=AUTOMATION,
        description="Made by `python -m flows.deployments deploy --tell`.",
        trigger=EventTrigger(
            expect={f"prefect.flow-run.{name}" for name in states},
            match_related={"prefect.resource.role": "flow", "prefect.resource.name": "train-and-promote"},
            posture=Posture.Reactive,
            threshold=1,
        ),
        actions=[
            SendNotification.model_validate(
                {
                    "block_document_id": _notification_block(block)._block_document_id,
                    "subject": f"{state}: {{{{ flow.name }}}}/{{{{ flow_run.name }}}}",
                    "body": f"**{state}**: {{{{ flow_run.state.message }}}}\n\n- [the run in Prefect]({run_url})",
                }
            )
        ],
    )
    with get_client(sync_client=True) as client:
        for former in client.read_automations_by_name(AUTOMATION):
            client.delete_automation(former.id)
        client.create_automation(automation)
