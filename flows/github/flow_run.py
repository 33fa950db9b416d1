"""The flow run that a workflow has started on a Prefect server, found by the name that it gave it.

python -m flows.github.flow_run cancel NAME
"""

from __future__ import annotations

import argparse
import sys

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    ArtifactFilterKey,
    FlowRunFilter,
    FlowRunFilterName,
)
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import ArtifactSort
from prefect.exceptions import PrefectHTTPStatusError
from prefect.states import Cancelling

from flows.artifacts import REPORT_KEY


class PrefectAnswerError(Exception):
    """The Prefect server does not do what it is asked; ``str()`` says why and what to do next."""


def report_of(name: str) -> str:
    """The report of the flow run as markdown; how it ended, when it made none.

    Raises:
        PrefectAnswerError: the server does not answer, or refuses.
    """
    try:
        with get_client(sync_client=True) as client:
            run = _find(client, name)
            return _report(client, run) if run else f"No flow run was started: the log of the job says why ({name})."
    except httpx.HTTPError as error:
        raise _explained(error) from error


def cancel(name: str) -> str:
    """Cancel the flow run, whose worker then ends it, if it has not ended already; says what was done.

    Raises:
        PrefectAnswerError: the server does not answer, or refuses.
    """
    try:
        with get_client(sync_client=True) as client:
            run = _find(client, name)
            if run is None:
                return f"No flow run {name} was started: there is nothing to cancel."
            if run.state is not None and run.state.is_final():
                return f"Flow run {name} has ended as {run.state.name} already."
            client.set_flow_run_state(run.id, Cancelling())
            return f"Flow run {name} is being cancelled."
    except httpx.HTTPError as error:
        raise _explained(error) from error


def _find(client: SyncPrefectClient, name: str) -> FlowRun | None:
    runs = client.read_flow_runs(flow_run_filter=FlowRunFilter(name=FlowRunFilterName(any_=[name])), limit=1)
    return runs[0] if runs else None


def _report(client: SyncPrefectClient, run: FlowRun) -> str:
    artifacts = client.read_artifacts(
        artifact_filter=ArtifactFilter(
            key=ArtifactFilterKey(any_=[REPORT_KEY]), flow_run_id=ArtifactFilterFlowRunId(any_=[run.id])
        ),
        sort=ArtifactSort.UPDATED_DESC,
        limit=1,
    )
    if artifacts:
        return str(artifacts[0].data)
    state = run.state
    ending = f"{state.name}: {state.message}" if state and state.message else str(state and state.name)
    return f"The flow run {run.name} made no report. It is {ending}"


def _explained(error: httpx.HTTPError) -> PrefectAnswerError:
    if isinstance(error, PrefectHTTPStatusError) and error.response.status_code in (401, 403):
        return PrefectAnswerError("The Prefect server refuses the login: set the secret PREFECT_API_KEY anew.")
    return PrefectAnswerError(
        f"The Prefect server cannot be asked ({error or type(error).__name__}): see that it runs, and that the secret "
        "PREFECT_API_URL is its address as GitHub reaches it."
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m flows.github.flow_run", description="A workflow's flow run.")
    parser.add_argument("command", choices=("cancel",))
    parser.add_argument("name")
    try:
        print(cancel(parser.parse_args().name))
    except PrefectAnswerError as error:
        print(f"::error::{error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
