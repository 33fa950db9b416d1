"""Metrics as the SDK reads them."""

from __future__ import annotations

import math

from emulator.metrics.store import Metric
from emulator.state import Record


def metric_payload(metric: Metric, data_container: str) -> Record:
    """``MetricV2Dto`` with every value. The SDK reads every column of every row of a table, and makes a float of
    what is in a ``double`` one: what a row did not have is null, or not a number."""
    missing = {column: math.nan if kind in ("double", "float") else None for column, kind in metric.columns.items()}
    values = [{**value, "data": {**missing, **value["data"]}} for value in metric.values]
    return {
        "dataContainerId": data_container,
        "name": metric.name,
        "columns": metric.columns,
        "value": values,
        "continuationToken": None,
        "properties": {"uxMetricType": metric.kind},
    }


def metric_definition_payload(metric: Metric) -> Record:
    """``MetricDefinitionDto``."""
    return {"metricKey": {"namespace": "", "name": metric.name}, "columns": metric.columns}
