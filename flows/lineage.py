"""Lineage: who started a run, with which settings, and on which data."""

from __future__ import annotations

import getpass
import hashlib
import os

from settings import Settings
from tasks.values import DataReport, Lineage


def lineage_of(settings: Settings, data: DataReport | None) -> Lineage:
    """The lineage of this flow run's model. Called inside of the flow."""
    from prefect.runtime import flow_run

    return lineage(settings, data, started_by(str(flow_run.id)), str(flow_run.id))


def lineage(settings: Settings, data: DataReport | None, starter: str, flow_run_id: str) -> Lineage:
    """The lineage of the model of a flow run that ``starter`` started."""
    return Lineage(
        started_by=starter,
        flow_run_id=flow_run_id,
        # SecretStr writes stars, so that the hash tells nothing about a secret.
        settings_sha256=hashlib.sha256(settings.model_dump_json().encode()).hexdigest(),
        data_source=data.source if data else None,
        data_fingerprint=data.fingerprint if data else None,
    )


def started_by(flow_run_id: str) -> str:
    """Who started the run: the person on GitHub, who or what Prefect says, else the user of this machine."""
    actor = os.environ.get("GITHUB_ACTOR")
    if actor:
        return f"{actor} (GitHub)"
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        creator = client.read_flow_run(flow_run_id).created_by  # type: ignore[arg-type]
    if creator is not None and creator.display_value:
        return f"{creator.display_value} (Prefect)"
    return getpass.getuser()
