"""Approval: a person looks at the report in Prefect's UI, and says yes or no before production is changed.

https://docs.prefect.io/v3/advanced/interactive
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.responses import SetStateStatus
from prefect.flow_runs import pause_flow_run
from prefect.input import RunInput
from prefect.runtime import flow_run
from pydantic import Field

from tasks.values import Approval

_POLL_SECONDS = 2
# Prefect fails a flow whose pause times out, so ours ends it before.
_GRACE_SECONDS = 600


class Decision(RunInput):
    """What the form in Prefect's UI asks for; POST /flow_runs/ID/resume takes the same as ``run_input``."""

    approve: bool = Field(False, title="Approve", description="Let the model into production.")
    approver: str = Field("", title="Your name", description="Stands in the report.")
    comment: str = Field("", title="Comment", description="Stands in the report.")


def ask_for_approval(question: str, minutes: float) -> Approval:
    """Pause the flow run until somebody has decided, or nobody has in time. The process waits meanwhile.

    Args:
        question: markdown, shown above the form.
        minutes: the deadline.
    """
    deadline = datetime.now().astimezone() + timedelta(minutes=minutes)
    description = f"{question}\n\nWithout an answer by {deadline:%Y-%m-%d %H:%M %Z} production stays as it is."
    form = Decision.with_initial_data(description=description, approve=False)
    with _expiring(UUID(str(flow_run.id)), minutes * 60) as expired:
        decision = pause_flow_run(
            wait_for_input=form, timeout=round(minutes * 60) + _GRACE_SECONDS, poll_interval=_POLL_SECONDS
        )
    if decision is None or expired.is_set():
        return Approval(decision="expired")
    return Approval(
        decision="approved" if decision.approve else "refused", by=decision.approver, comment=decision.comment
    )


@contextmanager
def _expiring(run: UUID, seconds: float) -> Iterator[threading.Event]:
    """Answer in the place of the person who did not; the event tells that it was so."""
    expired = threading.Event()

    def expire() -> None:
        with get_client(sync_client=True) as client:
            answer = client.resume_flow_run(run, run_input=Decision().model_dump())
        if answer.status == SetStateStatus.ACCEPT:
            expired.set()

    timer = threading.Timer(seconds, expire)
    timer.daemon = True
    timer.start()
    try:
        yield expired
    finally:
        timer.cancel()
