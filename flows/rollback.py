"""Bring a former model back into production by hand, with its own scoring script and environment.

python -m flows.rollback [--to VERSION] [--settings PATH] [--set dotted.key=value ...] [--verbose]
"""

from __future__ import annotations

if __name__ == "__main__":  # first, so that --help and wrong settings are answered before Prefect is imported
    from flows.command_line import rollback_main

    raise SystemExit(rollback_main())

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run

from flows.options import RollbackOptions
from flows.release import production_cluster, release
from flows.road import Road, end_state
from flows.turn import turn_to_release
from tasks.errors import MlopsError
from tasks.evaluation import production_model_task
from tasks.production import settle_production_task
from tasks.registration import scoring_of_task, version_to_restore_task
from tasks.values import RegisteredModel
from tasks.workspace import ensure_workspace_task

DEFAULT_OPTIONS = RollbackOptions()


@flow(name="rollback")
def rollback(options: RollbackOptions = DEFAULT_OPTIONS) -> State[dict[str, Any]]:
    """Let production serve the version that was released before the present one, or the version of the options.

    Returns:
        a state named Restored (completed), or RolledBack (failed) when the version did not hold and the present one
        serves again; report.json is its data.

    Raises:
        MlopsError: there is no version to go back to, or a step failed.
        SettingsError: the settings are wrong.
    """
    with Road(options, str(flow_run.id), flow_run.ui_url) as road, ExitStack() as held:
        settings, target, steps, waiting = road.settings, road.target, road.steps, road.settings.waiting
        steps.run("workspace", ensure_workspace_task, target, False)
        held.enter_context(turn_to_release(road))
        steps.run("settle production", settle_production_task, target, settings.deployment, waiting.service_minutes)
        served = steps.run("production", production_model_task, target, settings.deployment)
        if served is None:
            raise MlopsError(
                f"There is no production service '{settings.deployment.prod_deployment.name}' to roll back.",
                "Correct deployment.prod_deployment.name in the settings, or release a model.",
            )
        cluster = production_cluster(road)
        version = steps.run(
            "version to restore", version_to_restore_task, target, settings.deployment, options.to, served
        )
        with tempfile.TemporaryDirectory() as directory:
            scoring = steps.run("find its scoring", scoring_of_task, target, version, Path(directory))
            road.model = RegisteredModel(
                name=version.name,
                version=version.version,
                model_id=f"{version.name}:{version.version}",
                run_id=version.run_id,
            )
            release(road, served, road.model, scoring, None, cluster, by_hand=True)
    return end_state(road)
