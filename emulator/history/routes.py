"""Run history: experiments, runs, their tags and properties, their events and their children."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from aiohttp import web

from emulator.errors import bad_request
from emulator.history.odata import Query
from emulator.history.payloads import run_details_payload, run_payload
from emulator.history.store import Experiment, HistoryStore, Run
from emulator.routing import Request, Route, answer
from emulator.service import Service
from emulator.state import Record, utc_now

_HISTORY = "/history/v1.0/{WS}"
_LOG_FOLDERS = ("azureml-logs/", "user_logs/", "logs/azureml/")
_EVENT_PREFIX = "Microsoft.MachineLearning.Run."
_STATUS_BY_EVENT = {
    "Start": "Running",
    "Queued": "Queued",
    "Completed": "Completed",
    "Failed": "Failed",
    "Canceled": "Canceled",
    "CancelRequested": "CancelRequested",
}
_EVENTS_WITHOUT_EFFECT = frozenset({"Heartbeat", "QueueingInfo"})


class HistoryService(Service):
    """The record of what ran. Who runs it (:mod:`emulator.execution`, or the user's own process) reports here."""

    @property
    def store(self) -> HistoryStore:
        return HistoryStore(self.state)

    def routes(self) -> list[Route]:
        routes = [
            Route("GET", _HISTORY + "/experimentids/{experiment_id}", self.get_experiment),
            Route("PATCH", _HISTORY + "/experimentids/{experiment_id}", self.patch_experiment),
            Route("POST", _HISTORY + "/experimentids/{experiment_id}/tags:delete", self.delete_experiment_tags),
            Route("POST", _HISTORY + "/experiments:query", self.query_experiments),
            Route("GET", _HISTORY + "/experiments/{experiment}", self.get_experiment),
            Route("POST", _HISTORY + "/experiments/{experiment}", self.create_experiment),
            Route("GET", _HISTORY + "/runs/{run}", self.get_run),
            Route("GET", _HISTORY + "/computes/{compute}/runs", self.runs_of_compute),
        ]
        for experiment in (_HISTORY + "/experiments/{experiment}", _HISTORY + "/experimentids/{experiment_id}"):
            routes += [
                Route("POST", experiment + "/runs:query", self.query_runs),
                Route("PATCH", experiment + "/batch/runs", self.patch_runs),
                Route("POST", experiment + "/batch/events", self.post_events),
                Route("GET", experiment + "/runs/{run}", self.get_run),
                Route("PATCH", experiment + "/runs/{run}", self.patch_run),
                Route("GET", experiment + "/runs/{run}/details", self.run_details),
                Route("GET", experiment + "/runs/{run}/children", self.run_children),
                Route("GET", experiment + "/runs/{run}/token", self.run_token),
                Route("DELETE", experiment + "/runs/{run}/tags", self.delete_run_tags),
                Route("POST", experiment + "/runs/{run}/events", self.post_event),
                Route("GET", experiment + "/runs/{run}/metricsingest/wait", self.metrics_ingested),
            ]
        return routes

    def _experiment(self, request: Request) -> Experiment:
        if "experiment_id" in request.params:
            return self.store.experiment_by_id(request.workspace, request.params["experiment_id"])
        return self.store.experiment(request.workspace, request.params["experiment"])

    def _run(self, request: Request) -> Run:
        return self.store.run(request.workspace, request.params["run"])

    def created_by(self, request: Request) -> Record:
        """``CreatedByDto`` of whoever sent the request."""
        principal = self.emulator.identity.verify(request.http.headers.get("Authorization"))
        return {"userObjectId": principal.object_id, "userTenantId": "adfs", "userName": principal.name}

    async def create_experiment(self, request: Request) -> web.Response:
        return answer(self.store.ensure_experiment(request.workspace, request.params["experiment"]).record())

    async def get_experiment(self, request: Request) -> web.Response:
        return answer(self._experiment(request).record())

    async def patch_experiment(self, request: Request) -> web.Response:
        experiment, patch = self._experiment(request), await request.json()
        changes: Record = {"tags": {**experiment.tags, **(patch.get("tags") or {})}}
        changes |= {key: patch[key] for key in ("name", "description") if patch.get(key)}
        if patch.get("archive") is not None:
            changes["archived_time"] = utc_now() if patch["archive"] else None
        return answer(self.store.put_experiment(request.workspace, experiment.model_copy(update=changes)).record())

    async def delete_experiment_tags(self, request: Request) -> web.Response:
        experiment, unwanted = self._experiment(request), (await request.json()).get("tags") or []
        kept = {name: value for name, value in experiment.tags.items() if name not in unwanted}
        self.store.put_experiment(request.workspace, experiment.model_copy(update={"tags": kept}))
        return answer({"errors": {}})

    async def query_experiments(self, request: Request) -> web.Response:
        body = await request.json()
        view = request.query.get("viewType") or body.get("viewType") or "Default"
        wanted = {"ActiveOnly": (False,), "ArchivedOnly": (True,), "All": (False, True)}.get(view, (False,))
        found = [one for one in self.store.experiments(request.workspace) if (one.archived_time is not None) in wanted]
        return answer(_query_of_body(body).page([experiment.record() for experiment in found]))

    async def get_run(self, request: Request) -> web.Response:
        return answer(run_payload(self._run(request)))

    async def patch_run(self, request: Request) -> web.Response:
        run = self._upsert(request, request.params["run"], await request.json())
        return answer(run_payload(run))

    def _upsert(self, request: Request, run_id: str, patch: Record) -> Run:
        experiment = self._experiment(request)
        return self.store.upsert(request.workspace, experiment, run_id, patch, self.created_by(request))

    async def patch_runs(self, request: Request) -> web.Response:
        patches = (await request.json()).get("runs") or []
        runs = [self._upsert(request, patch["runId"], patch) for patch in patches]
        return answer({"runs": {run.run_id: run_payload(run) for run in runs}, "errors": {}})

    async def query_runs(self, request: Request) -> web.Response:
        runs = self.store.runs(request.workspace, self._experiment(request))
        return answer(_query_of_body(await request.json()).page([run_payload(run) for run in runs]))

    async def runs_of_compute(self, request: Request) -> web.Response:
        name = request.params["compute"].lower()
        runs = [run for run in self.store.runs(request.workspace) if (run.target or "").lower() == name]
        return answer(_query_of_address(request).page([run_payload(run) for run in runs]))

    async def run_children(self, request: Request) -> web.Response:
        parent = self._run(request)
        runs = [run for run in self.store.runs(request.workspace) if run.parent_run_id == parent.run_id]
        return answer(_query_of_address(request).page([run_payload(run) for run in runs]))

    async def run_details(self, request: Request) -> web.Response:
        run = self._run(request)
        definition = self.store.definition(request.workspace, run.run_id)
        artifacts = self.emulator.artifacts
        names = artifacts.list(request.workspace, "ExperimentRun", run.data_container_id)
        log_files = {
            name: artifacts.download_url(request.workspace, "ExperimentRun", run.data_container_id, name)
            for name in names
            if name.startswith(_LOG_FOLDERS)
        }
        return answer(run_details_payload(run, definition, log_files))

    async def run_token(self, request: Request) -> web.Response:
        token, expiry = self.emulator.identity.issue_run_token(self._run(request).run_id)
        return answer({"token": token, "expiryTimeUtc": datetime.fromtimestamp(expiry, timezone.utc).isoformat()})

    async def delete_run_tags(self, request: Request) -> web.Response:
        run, unwanted = self._run(request), await request.json()
        kept = {name: value for name, value in run.tags.items() if name not in unwanted}
        return answer(run_payload(self.store.put_run(request.workspace, run.model_copy(update={"tags": kept}))))

    async def post_event(self, request: Request) -> web.Response:
        self._apply_event(request, self._run(request).run_id, await request.json())
        return answer({})

    async def post_events(self, request: Request) -> web.Response:
        for event in (await request.json()).get("events") or []:
            data = event.get("data") or {}
            self._apply_event(request, data.get("RunId") or data.get("runId") or "", event)
        return answer({"errors": []})

    def _apply_event(self, request: Request, run_id: str, event: Record) -> None:
        kind = str(event.get("name") or "").removeprefix(_EVENT_PREFIX)
        data = event.get("data") or {}
        run = self.store.run(request.workspace, run_id)
        if kind in _STATUS_BY_EVENT:
            self.store.transition(request.workspace, run_id, _STATUS_BY_EVENT[kind])
        elif kind == "Error":
            self.store.put_run(request.workspace, run.model_copy(update={"error": data.get("ErrorResponse")}))
        elif kind == "Warning":
            self.store.warn(request.workspace, run_id, data.get("Source") or "", data.get("Message") or "")
        elif kind not in _EVENTS_WITHOUT_EFFECT:
            raise bad_request(f"'{event.get('name')}' is not an event of a run.")

    async def metrics_ingested(self, request: Request) -> web.Response:
        self._run(request)
        return answer({})


def _query_of_body(body: Record) -> Query:
    top: Any = body.get("top")
    return Query(body.get("filter"), body.get("orderby"), int(top) if top else None, body.get("continuationToken"))


def _query_of_address(request: Request) -> Query:
    query = request.query
    top = query.get("$top")
    return Query(
        query.get("$filter"), query.get("$orderby"), int(top) if top else None, query.get("$continuationToken")
    )
