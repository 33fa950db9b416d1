"""What tests of runs share: waiting for a status, and reading a log."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from azureml.core import Run

_TERMINAL = ("Completed", "Failed", "Canceled")


def until(run: Run, *statuses: str) -> str:
    """Wait for one of the statuses; a run that ends otherwise ends the wait."""
    while run.get_status() not in (*statuses, *_TERMINAL):
        time.sleep(0.2)
    return str(run.get_status())


def log_of(run: Run, name: str = "user_logs/std_log.txt") -> str:
    return str(run.get_details_with_logs()["logFiles"][name])
