"""Metrics of runs, version 2 of the service: post a batch, list the names, read one in full."""

from __future__ import annotations

from aiohttp import web

from emulator.errors import not_found
from emulator.history.store import Run, error_response
from emulator.metrics.payloads import metric_definition_payload, metric_payload
from emulator.metrics.store import MetricsStore, metric_of
from emulator.routing import Request, Route, answer
from emulator.service import Service

_METRICS = "/metric/v2.0/{WS}/runs/{run}"


class MetricsService(Service):
    """What ``run.log`` and its like write and ``run.get_metrics`` reads. Images are artifacts, named by a metric."""

    @property
    def store(self) -> MetricsStore:
        return MetricsStore(self.state)

    def routes(self) -> list[Route]:
        return [
            Route("POST", _METRICS + "/batch", self.post),
            Route("POST", _METRICS + "/list", self.names),
            Route("POST", _METRICS + "/full", self.full),
        ]

    def _run(self, request: Request) -> Run:
        return self.emulator.history.store.run(request.workspace, request.params["run"])

    async def post(self, request: Request) -> web.Response:
        run = self._run(request)
        values = (await request.json()).get("values") or []
        posted = {record["name"]: record for record in values}
        refused = self.store.add(request.workspace, run.run_id, [metric_of(record) for record in values])
        errors = [
            {"metric": posted[name], "errorResponse": error_response("UserError", reason, request.workspace)}
            for name, reason in refused.items()
        ]
        return answer({"errors": errors}, status=207 if errors else 200)

    async def names(self, request: Request) -> web.Response:
        metrics = self.store.metrics(request.workspace, self._run(request).run_id)
        value = [metric_definition_payload(metric) for metric in metrics.values()]
        return answer({"value": value, "continuationToken": None})

    async def full(self, request: Request) -> web.Response:
        run, body = self._run(request), await request.json()
        metric = self.store.metrics(request.workspace, run.run_id).get(body.get("metricName") or "")
        if metric is None:
            raise not_found("Metric", str(body.get("metricName")), f"run '{run.run_id}'")
        first, last = body.get("startTime") or "", body.get("endTime") or "~"
        within = tuple(value for value in metric.values if first <= value["createdUtc"] <= last)
        return answer(metric_payload(metric.model_copy(update={"values": within}), run.data_container_id))
