"""HyperDrive: tuning of hyperparameters, whose children are runs of the execution service."""

from __future__ import annotations

import json
import re
import uuid
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import quote

from aiohttp import web

from emulator.content.store import NO_SNAPSHOT
from emulator.errors import ServiceError, bad_request
from emulator.hyperdrive.payloads import error_payload, experiment_payload, parent_properties, parent_tags
from emulator.hyperdrive.store import Tuning, TuningStore
from emulator.hyperdrive.submission import parse_submission
from emulator.hyperdrive.supervisor import TuningSupervisor
from emulator.management.store import Workspace, check_subscription
from emulator.routing import WORKSPACE_PATH, Handler, Request, Route, answer
from emulator.service import Service
from emulator.state import Record

if TYPE_CHECKING:
    from emulator.server import Emulator

# The SDK sends the experiment's whole ARM path as one segment, with its slashes encoded.
_SCOPE = "/hyperdrive/v1.0/{scope}"
_SCOPE_PATTERN = re.compile(
    "/?" + re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", WORKSPACE_PATH) + "/experiments/(?P<experiment>[^/]+)", re.IGNORECASE
)


class HyperDriveService(Service):
    """Takes tunings, and takes up again those that were going on when the emulator last stopped."""

    def __init__(self, emulator: Emulator) -> None:
        super().__init__(emulator)
        self._supervisor = TuningSupervisor(emulator, self.store)

    @property
    def store(self) -> TuningStore:
        return TuningStore(self.state)

    def routes(self) -> list[Route]:
        return [
            Route("POST", _SCOPE + "/runs", partial(_explained, self.submit)),
            Route("POST", _SCOPE + "/hdruns/{run}", partial(_explained, self.submit)),
            Route("POST", _SCOPE + "/runs/{run}/cancel", partial(_explained, self.cancel)),
        ]

    async def start(self) -> None:
        """Go on with what was going on. Its children that were running have failed with the emulator; those that were
        waiting are queued again; what the parent has left to do is done."""
        history = self.emulator.history.store
        for workspace in self.emulator.management.store.workspaces():
            for tuning in self.store.all(workspace):
                if not history.run(workspace, tuning.run_id).is_terminal:
                    self._supervisor.launch(workspace, tuning)

    async def stop(self) -> None:
        await self._supervisor.stop()

    def _workspace(self, request: Request) -> tuple[Workspace, str]:
        """The workspace and the name of the experiment in the scope of a request."""
        scope = _SCOPE_PATTERN.fullmatch(request.params["scope"])
        if scope is None:
            raise bad_request(f"'{request.params['scope']}' is not the path of an experiment.")
        check_subscription(scope["subscription"])
        return self.emulator.management.store.workspace(scope["resource_group"], scope["workspace"]), scope[
            "experiment"
        ]

    async def submit(self, request: Request) -> web.Response:
        workspace, experiment_name = self._workspace(request)
        history, execution = self.emulator.history, self.emulator.execution
        run_id = request.params.get("run") or f"HD_{uuid.uuid4()}"
        configuration = parse_submission(await _config_json(request), run_id)
        experiment = history.store.experiment(workspace, experiment_name)
        if history.store.find_run(workspace, run_id) is not None:
            raise ServiceError(409, "Conflict", f"A run '{run_id}' is there already: choose another id.")
        snapshot_id = configuration.platform_config["Definition"].get("SnapshotId") or NO_SNAPSHOT
        definition = execution.checked(workspace, experiment, configuration.definition, snapshot_id)
        created_by = history.created_by(request)
        arm_path = f"{workspace.arm_id.lstrip('/')}/experiments/{experiment.name}"
        patch: Record = {
            "status": "Running",
            "runType": "hyperdrive",
            "target": definition["target"],
            "scriptName": definition.get("script"),
            "primaryMetricName": configuration.primary_metric_config.name,
            "cancelUri": f"{self.emulator.url}/hyperdrive/v1.0/{quote(arm_path, safe='')}/runs/{quote(run_id)}/cancel",
            "tags": parent_tags(configuration, run_id),
            "properties": parent_properties(configuration, snapshot_id),
        }
        parent = history.store.upsert(workspace, experiment, run_id, patch, created_by)
        without_definition = {key: value for key, value in configuration.platform_config.items() if key != "Definition"}
        tuning = Tuning(
            run_id=run_id,
            experiment_id=experiment.experiment_id,
            configuration=configuration.model_copy(update={"platform_config": without_definition}),
            snapshot_id=snapshot_id,
            definition=definition,
            created_by=created_by,
            created_utc=parent.created_utc,
        )
        self.store.put(workspace, tuning)
        self._supervisor.launch(workspace, tuning)
        return answer(experiment_payload(tuning), status=201)

    async def cancel(self, request: Request) -> web.Response:
        workspace, _ = self._workspace(request)
        history, run_id = self.emulator.history.store, request.params["run"]
        run = history.run(workspace, run_id)
        if self.store.find(workspace, run_id) is None:
            raise bad_request(f"Run '{run_id}' is not a HyperDrive run.")
        if not run.is_terminal:
            history.transition(workspace, run_id, "CancelRequested")
        return answer({"code": 200, "result": "Cancellation was requested."})


async def _explained(handler: Handler, request: Request) -> web.StreamResponse:
    """What the handler answers, or why it refuses, as the HyperDrive client reads it."""
    try:
        return await handler(request)
    except ServiceError as error:
        return answer(error_payload(error), status=error.status)


async def _config_json(request: Request) -> Record:
    """The file ``config`` of the multipart form.

    Raises:
        ServiceError: 400 when it is missing or not a JSON object.
    """
    field = (await request.http.post()).get("config")
    text = field.file.read() if isinstance(field, web.FileField) else field
    try:
        body = json.loads(text or "")
    except (TypeError, ValueError) as error:
        raise bad_request(f"The file 'config' of the form is missing or not JSON: {error}.") from error
    if not isinstance(body, dict):
        raise bad_request("The file 'config' of the form is not a JSON object.")
    return body
