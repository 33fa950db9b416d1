"""Runs as the SDK reads them."""

from __future__ import annotations

from emulator.history.store import Run
from emulator.state import Record


def run_payload(run: Run) -> Record:
    """``RunDto``."""
    return run.record()


def run_details_payload(run: Run, definition: Record | None, log_files: dict[str, str]) -> Record:
    """``RunDetailsDto``, the source of ``run.get_details()``.

    Args:
        run: the run.
        definition: the run configuration with which it was submitted.
        log_files: address by name of each log, for example ``user_logs/std_log.txt``.
    """
    record = run.record()
    keys = (
        "runId",
        "target",
        "status",
        "startTimeUtc",
        "endTimeUtc",
        "error",
        "warnings",
        "properties",
        "inputDatasets",
        "outputDatasets",
    )
    return {**{key: record[key] for key in keys}, "services": {}, "runDefinition": definition, "logFiles": log_files}
