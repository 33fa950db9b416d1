"""``python -m flows.main --preflight``: is all there that a run will need? Everything is read, nothing is changed."""

from __future__ import annotations

import os

from flows.table import show_table
from flows.terminal import terminal
from settings import Settings
from settings.workspace import resolve_workspace
from tasks.errors import MlopsError
from tasks.preflight import preflight
from tasks.values import Check

_MARKS = {"passed": "✓", "missing": "✗", "unknown": "?"}


def check(settings: Settings) -> bool:
    """Show what is there and what is missing, with what to do; returns whether nothing is missing."""
    target = resolve_workspace(settings.workspace, os.environ)
    checks = [Check(name="settings", result="passed", detail=f"valid; workspace {target.name} ({target.cloud})")]
    try:
        checks += preflight(target, settings)
    except MlopsError as error:
        checks.append(Check(name="login", result="missing", detail=error.message, next_step=error.next_step))
    rows = [(f"{_MARKS[each.result]} {each.name}", each.detail, each.next_step or "") for each in checks]
    show_table(("Check", "What was found", "What to do"), rows, terminal())
    print(verdict(checks), file=terminal())
    return all(each.result != "missing" for each in checks)


def verdict(checks: list[Check]) -> str:
    """All of it in a sentence."""
    missing = [each.name for each in checks if each.result == "missing"]
    unknown = [each.name for each in checks if each.result == "unknown"]
    said = f"Missing: {', '.join(missing)}." if missing else "Nothing is missing."
    return f"{said} Could not be checked: {', '.join(unknown)}." if unknown else said
