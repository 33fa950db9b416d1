"""What becomes of a run that was cancelled, or whose process has died, when Prefect can still tell somebody.

Most of it a cancelled run does itself, when it is interrupted. This is for what it did not get to: Prefect calls these
hooks in a process of its own.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from flows.options import RunOptions
from flows.scope import load_settings
from settings.workspace import resolve_workspace
from tasks.leftovers import remove_leftovers

if TYPE_CHECKING:
    from prefect import Flow
    from prefect.client.schemas.objects import FlowRun, State


def withdraw(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:  # noqa: ARG001 - Prefect's signature
    """Cancel the Azure runs of the flow run and delete its dev and test services; production stays as it is.

    What a release has half made in production is put right by the next run, before it looks at it.
    """
    from prefect.logging import get_run_logger

    options = RunOptions.model_validate((flow_run.parameters or {}).get("options") or {})
    settings = load_settings(options.settings_file, options.overrides)
    target = resolve_workspace(settings.workspace, os.environ)
    for sentence in remove_leftovers(target, settings.experiment.name, settings.deployment, str(flow_run.id)):
        get_run_logger().info(sentence)
