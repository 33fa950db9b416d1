"""What run history keeps: experiments, and the record of every run in them."""

from __future__ import annotations

import re
import uuid
from typing import Any

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from emulator.errors import ServiceError, bad_request, not_found
from emulator.management.store import Workspace
from emulator.state import Record, State, utc_now

TERMINAL_STATUSES = frozenset({"Completed", "Failed", "Canceled"})
_STATUSES = TERMINAL_STATUSES | {
    "NotStarted",
    "Queued",
    "Preparing",
    "Provisioning",
    "Starting",
    "Running",
    "Finalizing",
    "CancelRequested",
}
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,255}")
# What a PATCH may set as it is. Status, tags and properties have rules of their own.
_PATCHED_AS_THEY_ARE = (
    "name",
    "displayName",
    "description",
    "hidden",
    "options",
    "heartbeatEnabled",
    "runType",
    "runTypeV2",
    "scriptName",
    "target",
    "primaryMetricName",
    "createdFrom",
    "inputDatasets",
    "outputDatasets",
    "cancelUri",
    "diagnosticsUri",
    "queueingInfo",
)


class _HistoryModel(BaseModel):
    """Kept under the keys of the wire, so that a filter of the SDK can be asked of what is kept."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True)

    def record(self) -> Record:
        return self.model_dump(by_alias=True)


class Experiment(_HistoryModel):
    """One experiment (``azureml.core.Experiment``)."""

    experiment_id: str
    name: str
    description: str | None = None
    created_utc: str
    archived_time: str | None = None
    tags: dict[str, str] = {}


class Run(_HistoryModel):
    """One run (``azureml.core.Run``); the keys are those of ``RunDto``."""

    run_id: str
    run_number: int
    experiment_id: str
    root_run_id: str
    parent_run_id: str | None = None
    status: str = "NotStarted"
    created_utc: str
    start_time_utc: str | None = None
    end_time_utc: str | None = None
    name: str | None = None
    display_name: str | None = None
    description: str | None = None
    hidden: bool | None = None
    options: Record | None = None
    heartbeat_enabled: bool | None = None
    data_container_id: str
    run_type: str | None = None
    run_type_v2: Record | None = None
    script_name: str | None = None
    target: str | None = None
    primary_metric_name: str | None = None
    properties: dict[str, str] = {}
    tags: dict[str, str | None] = {}
    input_datasets: list[Record] = []
    output_datasets: list[Record] = []
    created_from: Record | None = None
    created_by: Record
    cancel_uri: str | None = None
    diagnostics_uri: str | None = None
    queueing_info: Record | None = None
    error: Record | None = None
    warnings: list[Record] = []

    @property
    def is_terminal(self) -> bool:
        return self.status in TERMINAL_STATUSES


def moved(run: Run, status: str, at: str) -> Run:
    """The run in its next status, with the times that follow from it. What comes after the end changes nothing: the
    SDK itself reports ``Completed`` for a run that its own ``with`` block has already failed."""
    if run.is_terminal or status == run.status:
        return run
    changes: Record = {"status": status}
    if status == "Running" and run.start_time_utc is None:
        changes["start_time_utc"] = at
    if status in TERMINAL_STATUSES:
        changes["end_time_utc"] = at
    return run.model_copy(update=changes)


def _merged_properties(run: Run, new: Record) -> dict[str, str]:
    given = {name: str(value) for name, value in new.items() if value is not None}
    for name, value in given.items():
        if run.properties.get(name, value) != value:
            raise bad_request(
                f"Property '{name}' of run '{run.run_id}' is '{run.properties[name]}' and cannot become '{value}': "
                "properties are immutable. Use a tag for what changes."
            )
    return {**run.properties, **given}


def patched(run: Run, patch: Record, at: str) -> Run:
    """The run with what a ``CreateRunDto`` sets; keys that are missing or null leave it as it is.

    Raises:
        ServiceError: 400 for a status that Azure does not have, or an attempt to change a property.
    """
    as_they_are = {key: patch[key] for key in _PATCHED_AS_THEY_ARE if patch.get(key) is not None}
    changed = {
        **run.record(),
        **as_they_are,
        "tags": {**run.tags, **(patch.get("tags") or {})},
        "properties": _merged_properties(run, patch.get("properties") or {}),
    }
    status = patch.get("status") or run.status
    if status not in _STATUSES:
        raise bad_request(f"'{status}' is not the status of a run.")
    return moved(Run.model_validate(changed), status, at)


class HistoryStore:
    def __init__(self, state: State) -> None:
        self._state = state
        self._experiments = state.collection("experiments")
        self._runs = state.collection("runs")
        self._definitions = state.collection("run_definitions")

    def experiments(self, workspace: Workspace) -> list[Experiment]:
        return [Experiment.model_validate(record) for record in self._experiments.all(workspace.id)]

    def experiment(self, workspace: Workspace, name: str) -> Experiment:
        """The experiment of that name.

        Raises:
            ServiceError: 404.
        """
        found = next((one for one in self.experiments(workspace) if one.name == name), None)
        if found is None:
            raise not_found("Experiment", name)
        return found

    def experiment_by_id(self, workspace: Workspace, experiment_id: str) -> Experiment:
        """The experiment with that id.

        Raises:
            ServiceError: 404.
        """
        record = self._experiments.get(workspace.id, experiment_id)
        if record is None:
            raise not_found("Experiment", experiment_id)
        return Experiment.model_validate(record)

    def ensure_experiment(self, workspace: Workspace, name: str) -> Experiment:
        found = next((one for one in self.experiments(workspace) if one.name == name), None)
        return found or self.put_experiment(
            workspace, Experiment(experiment_id=str(uuid.uuid4()), name=name, created_utc=utc_now())
        )

    def put_experiment(self, workspace: Workspace, experiment: Experiment) -> Experiment:
        self._experiments.put(workspace.id, experiment.experiment_id, experiment.record())
        return experiment

    def runs(self, workspace: Workspace, experiment: Experiment | None = None) -> list[Run]:
        """All runs of the workspace, or of one experiment, oldest first."""
        found = (Run.model_validate(record) for record in self._runs.all(workspace.id))
        return [run for run in found if experiment is None or run.experiment_id == experiment.experiment_id]

    def find_run(self, workspace: Workspace, run_id: str) -> Run | None:
        record = self._runs.get(workspace.id, run_id)
        return None if record is None else Run.model_validate(record)

    def run(self, workspace: Workspace, run_id: str) -> Run:
        """The run with that id.

        Raises:
            ServiceError: 404.
        """
        found = self.find_run(workspace, run_id)
        if found is None:
            raise not_found("Run", run_id)
        return found

    def put_run(self, workspace: Workspace, run: Run) -> Run:
        self._runs.put(workspace.id, run.run_id, run.record())
        return run

    def upsert(
        self, workspace: Workspace, experiment: Experiment, run_id: str, patch: Record, created_by: Record
    ) -> Run:
        """Change a run, or make it when there is none with that id: what PATCH does on a run.

        Raises:
            ServiceError: 404 for a parent that is not there; 409 when another experiment has a run with that id; 400
                for what :func:`patched` refuses.
        """
        now = utc_now()
        run = self.find_run(workspace, run_id) or self._new_run(workspace, experiment, run_id, patch, created_by, now)
        if run.experiment_id != experiment.experiment_id:
            raise ServiceError(
                409,
                "Conflict",
                f"Run '{run_id}' belongs to another experiment than '{experiment.name}': choose another id.",
            )
        return self.put_run(workspace, patched(run, patch, now))

    def _new_run(
        self, workspace: Workspace, experiment: Experiment, run_id: str, patch: Record, created_by: Record, now: str
    ) -> Run:
        if not _RUN_ID.fullmatch(run_id):
            raise bad_request(f"'{run_id}' is not an id of a run: letters, digits, '-', '_' and '.', at most 256.")
        parent_id = patch.get("parentRunId")
        root_id = self.run(workspace, parent_id).root_run_id if parent_id else run_id
        return Run(
            run_id=run_id,
            run_number=self._state.next_number("run", experiment.experiment_id),
            experiment_id=experiment.experiment_id,
            root_run_id=root_id,
            parent_run_id=parent_id,
            created_utc=now,
            display_name=run_id,
            data_container_id=patch.get("dataContainerId") or f"dcid.{run_id}",
            created_by=created_by,
        )

    def transition(self, workspace: Workspace, run_id: str, status: str, error: Record | None = None) -> Run:
        """Move a run to its next status, with its error when it failed."""
        run = self.run(workspace, run_id)
        if error is not None and not run.is_terminal:
            run = run.model_copy(update={"error": error})
        return self.put_run(workspace, moved(run, status, utc_now()))

    def warn(self, workspace: Workspace, run_id: str, source: str, message: str) -> Run:
        """Add to what ``run.get_details()["warnings"]`` shows."""
        run = self.run(workspace, run_id)
        warnings = [*run.warnings, {"source": source, "message": message}]
        return self.put_run(workspace, run.model_copy(update={"warnings": warnings}))

    def definition(self, workspace: Workspace, run_id: str) -> Record | None:
        """The run configuration with which a run was submitted; ``None`` for an interactive run."""
        return self._definitions.get(workspace.id, run_id)

    def put_definition(self, workspace: Workspace, run_id: str, definition: Record) -> None:
        self._definitions.put(workspace.id, run_id, definition)


def error_response(code: str, message: str, workspace: Workspace) -> Record:
    """``ErrorResponse`` as ``run.get_details()["error"]`` shows it."""
    error: dict[str, Any] = {"code": code, "message": message, "messageParameters": {}, "details": []}
    return {
        "error": error,
        "correlation": {},
        "environment": "emulator",
        "location": workspace.location,
        "time": utc_now(),
        "componentName": "execution",
    }
