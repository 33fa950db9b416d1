"""``python -m flows.main --dry-run``: what each step would create, change and use, without doing it."""

from __future__ import annotations

import os

from flows.table import show_table
from flows.terminal import terminal
from settings import Settings
from settings.workspace import resolve_workspace
from tasks.plan import plan
from tasks.values import PlannedStep

_CONDITIONAL = "test cluster"
"""With this step begins what happens only when the model is better."""


def show(settings: Settings, fresh: bool) -> bool:
    """Show the plan of a run; returns whether all of it could be carried out.

    Raises:
        MlopsError: Azure cannot be asked.
    """
    planned = plan(resolve_workspace(settings.workspace, os.environ), settings, fresh)
    show_table(("Step", "Would", "What", "Uses"), _rows(planned), terminal())
    failing = [each.step for each in planned if each.action == "fail"]
    said = f"A run would fail: {', '.join(failing)}." if failing else "Nothing was created, changed or deleted."
    print(said, file=terminal())
    return not failing


def _rows(planned: tuple[PlannedStep, ...]) -> list[tuple[str, str, str, str]]:
    rows, better = [], False
    for each in planned:
        if each.step == _CONDITIONAL:
            rows.append(("", "", "and when the model is better:", ""))
            better = True
        rows.append((f"  {each.step}" if better else each.step, each.action, each.detail, each.cost or ""))
    return rows
