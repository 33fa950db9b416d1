"""What the metrics service keeps: every batch of values as a run has posted it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ConfigDict

from emulator.management.store import Workspace
from emulator.state import Record, State


class Metric(BaseModel):
    """One metric of a run with all its values, in the order in which they were logged.

    Attributes:
        columns: type by column, for example ``{"mse": "double"}``.
        kind: ``azureml.v1.scalar``, ``azureml.v1.list``, ``azureml.v1.table``, ``azureml.v2.image`` …
        values: ``MetricV2Value``: ``metricId``, ``createdUtc``, ``step`` and ``data`` by column.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    columns: dict[str, str]
    kind: str
    values: tuple[Record, ...] = ()


class MetricConflictError(Exception):
    """A metric was logged again as something else; ``str()`` says as what."""


_NUMBERS = frozenset({"int", "double", "float"})


def _column_type(metric: str, column: str, old: str, new: str) -> str:
    if old == new or new == "none":
        return old
    if old == "none":
        return new
    if {old, new} <= _NUMBERS:
        return "double"
    raise MetricConflictError(f"Metric '{metric}' was logged with '{column}' as {old} and cannot take a {new} now.")


def extended(metric: Metric, posted: Metric) -> Metric:
    """The metric with values logged later; whole numbers become real ones when they meet one.

    Raises:
        MetricConflictError: the values are of another kind, for example a table after a number, or text after one.
    """
    if metric.kind != posted.kind:
        raise MetricConflictError(
            f"Metric '{metric.name}' was logged as {metric.kind} and cannot be {posted.kind} now."
        )
    columns = dict(metric.columns)
    for column, new in posted.columns.items():
        columns[column] = _column_type(metric.name, column, columns.get(column, new), new)
    return metric.model_copy(update={"columns": columns, "values": metric.values + posted.values})


def metric_of(posted: Record) -> Metric:
    """A ``MetricV2Dto`` as it is posted."""
    return Metric(
        name=posted["name"],
        columns={column: kind.lower() for column, kind in (posted.get("columns") or {}).items()},
        kind=(posted.get("properties") or {}).get("uxMetricType") or "",
        values=tuple(posted.get("value") or ()),
    )


class MetricsStore:
    def __init__(self, state: State) -> None:
        self._batches = state.collection("metric_batches")

    def _scope(self, workspace: Workspace, run_id: str) -> str:
        return f"{workspace.id}/{run_id}"

    def metrics(self, workspace: Workspace, run_id: str) -> dict[str, Metric]:
        """By name, in the order in which they were first logged."""
        found: dict[str, Metric] = {}
        for batch in self._batches.all(self._scope(workspace, run_id)):
            for record in batch["metrics"]:
                metric = Metric.model_validate(record)
                found[metric.name] = extended(found[metric.name], metric) if metric.name in found else metric
        return found

    def batches(self, workspace: Workspace, run_id: str) -> int:
        """How often a run has logged: cheaper than to read what."""
        return self._batches.count(self._scope(workspace, run_id))

    def add(self, workspace: Workspace, run_id: str, posted: Iterable[Metric]) -> dict[str, str]:
        """Keep a batch; one that is posted again, because its answer was lost, is kept once.

        Returns:
            why, by name of each metric that was refused.
        """
        known = self.metrics(workspace, run_id)
        accepted: list[Metric] = []
        refused: dict[str, str] = {}
        for metric in posted:
            try:
                known[metric.name] = extended(known[metric.name], metric) if metric.name in known else metric
            except MetricConflictError as error:
                refused[metric.name] = str(error)
            else:
                accepted.append(metric)
        values = [value for metric in accepted for value in metric.values]
        if values:
            record: dict[str, Any] = {"metrics": [metric.model_dump() for metric in accepted]}
            self._batches.put(self._scope(workspace, run_id), str(values[0]["metricId"]), record)
        return refused
