"""The steps that change production: each waits its turn at Prefect's server, taken alone as in a whole run."""

from __future__ import annotations

CHANGE_PRODUCTION = frozenset({"settle production", "deploy to prod", "mark as production"})


def step_named(text: str) -> str:
    """The name of a step as somebody types it: ``deploy-to-prod`` is ``deploy to prod``."""
    return text.replace("-", " ")
