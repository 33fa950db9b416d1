"""The report of a run, for the summary of a job: ``python -m flows.github.summary >> "$GITHUB_STEP_SUMMARY"``.

Where PREFECT_API_URL and FLOW_RUN_NAME are set, a worker has run the flow, maybe on another machine, and the Prefect
server has the report of the run of that name. Elsewhere the flow has run here, and ``reports/latest`` has it.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

REPORT = Path("reports", "latest", "report.md")
_LIMIT = 1024 * 1024  # bytes of one step's summary; GitHub leaves out one that is longer


def for_github(markdown: str, limit: int = _LIMIT) -> str:
    """The report as GitHub can show it: no embedded pictures, which it does not render, and at most ``limit`` bytes."""
    text = re.sub(r"!\[([^\]]*)\]\(data:[^)]*\)", r"*\1: in Prefect's UI*", markdown)
    if len(text.encode()) <= limit:
        return text
    note = "\n\nThe report goes on: it was cut to what GitHub shows.\n"
    return text.encode()[: limit - len(note)].decode(errors="ignore") + note


def main() -> int:
    flow_run = os.environ.get("FLOW_RUN_NAME")
    if flow_run and os.environ.get("PREFECT_API_URL"):
        from flows.github.flow_run import PrefectAnswerError, report_of

        try:
            report = report_of(flow_run)
        except PrefectAnswerError as error:
            print(f"::error::{error}", file=sys.stderr)
            return 1
    elif REPORT.exists():
        report = REPORT.read_text(encoding="utf-8")
    else:
        report = "The flow did not start: the log of the job says why."
    print(for_github(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
