"""What becomes of a run that was cancelled, or whose process has died, when Prefect can still tell somebody.

Most of it a cancelled run does itself, when it is interrupted. This is for what it did not get to: Prefect calls the
hook in the run's own process, or in the worker's when that one has died.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from prefect.logging.loggers import flow_run_logger

from flows.options import RunOptions
from flows.scope import load_settings
from flows.turn import turn_on
from settings.workspace import resolve_workspace
from tasks.errors import MlopsError
from tasks.leftovers import remove_leftovers
from tasks.production import settle_production

if TYPE_CHECKING:
    from prefect import Flow
    from prefect.client.schemas.objects import FlowRun, State


# Longer than the lease of the turn of a process that has died.
_TURN_MINUTES = 3

# Flow runs whose process this is, whose hooks Prefect calls here, too: they take back themselves what they release.
carried_out_here: set[str] = set()


def withdraw(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:  # noqa: ARG001 - Prefect's signature
    """Cancel the Azure runs of the flow run, delete its dev and test services, and end its canary release half way."""
    logger = flow_run_logger(flow_run, flow)  # a hook has no run of its own to log to
    options = RunOptions.model_validate((flow_run.parameters or {}).get("options") or {})
    settings = load_settings(options.settings_file, options.overrides)
    target = resolve_workspace(settings.workspace, os.environ)
    for sentence in remove_leftovers(target, settings.experiment.name, settings.deployment, str(flow_run.id)):
        logger.info(sentence)
    if str(flow_run.id) in carried_out_here:
        return
    try:
        with turn_on(target, _TURN_MINUTES):
            settle_production(target, settings.deployment, settings.waiting.service_minutes)
    except MlopsError as error:  # a timeout of the turn, too: whoever has it has settled production first
        logger.warning(f"{error.message} The next run looks at production before it releases.")
