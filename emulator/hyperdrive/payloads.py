"""Tunings as the SDK reads them: the answer to a submission, and the parent run's tags and metric table."""

from __future__ import annotations

import json
import uuid

from emulator.errors import ServiceError
from emulator.hyperdrive.store import Child, Tuning
from emulator.hyperdrive.submission import TuningConfiguration
from emulator.metrics.store import Metric
from emulator.state import Record, utc_now

BEST_CHILD = "best_child_by_primary_metric"


def parent_tags(configuration: TuningConfiguration, run_id: str) -> dict[str, str]:
    """What ``HyperDriveRun`` makes its configuration of again. The run configuration is with the children."""
    platform = {key: value for key, value in configuration.platform_config.items() if key != "Definition"}
    return {
        "_aml_system_generator_config": json.dumps(configuration.generator_config),
        "_aml_system_policy_config": json.dumps(configuration.policy_config),
        "_aml_system_primary_metric_config": configuration.primary_metric_config.model_dump_json(),
        "_aml_system_platform_config": json.dumps({**platform, "ParentRunId": run_id}),
        "_aml_system_max_total_jobs": str(configuration.max_total_jobs),
        "_aml_system_max_concurrent_jobs": str(configuration.max_concurrent_jobs),
        "_aml_system_max_duration_minutes": f"{configuration.max_duration_minutes:.0f}",
    }


def parent_properties(configuration: TuningConfiguration, snapshot_id: str) -> dict[str, str]:
    return {
        "runTemplate": "HyperDrive",
        "azureml.runsource": "hyperdrive",
        "platform": "AML",
        "primary_metric_config": configuration.primary_metric_config.model_dump_json(),
        "resume_from": "null",
        "ContentSnapshotId": snapshot_id,
    }


def child_tag(child: Child) -> dict[str, str]:
    """What ``HyperDriveRun.get_hyperparameters`` reads from the parent."""
    return {f"_aml_system_{child.run_id}": json.dumps(child.hyperparameters)}


def best_child_metric(tuning: Tuning, run_id: str, value: float, final: bool) -> Metric:
    """One row of the table in which ``HyperDriveRun.get_best_run_by_primary_metric`` looks the best child up."""
    now = utc_now()
    row = {
        "metric_name": tuning.configuration.primary_metric_config.name,
        "timestamp": now,
        "run_id": run_id,
        "metric_value": value,
        "final": final,
    }
    return Metric(
        name=BEST_CHILD,
        columns={
            "metric_name": "string",
            "timestamp": "string",
            "run_id": "string",
            "metric_value": "double",
            "final": "boolean",
        },
        kind="azureml.v1.table",
        values=({"metricId": str(uuid.uuid4()), "createdUtc": now, "step": None, "data": row},),
    )


def experiment_payload(tuning: Tuning) -> Record:
    """``ExperimentResponseDto``: the answer to a submission."""
    configuration = tuning.configuration
    return {
        "code": 201,
        "result": {
            "all_jobs_generated": False,
            "cancellation_requested": False,
            "created": tuning.created_utc,
            "experiment_id": tuning.run_id,
            "generator_config": configuration.generator_config,
            "hyperdrive_run_id": tuning.run_id,
            "max_concurrent_jobs": configuration.max_concurrent_jobs,
            "max_duration_minutes": round(configuration.max_duration_minutes),
            "max_total_jobs": configuration.max_total_jobs,
            "modified": tuning.created_utc,
            "name": configuration.platform_config.get("ExperimentName"),
            "platform": "AML",
            "platform_config": {
                **{key: value for key, value in configuration.platform_config.items() if key != "Definition"},
                "ParentRunId": tuning.run_id,
            },
            "policy_config": configuration.policy_config,
            "primary_metric_config": configuration.primary_metric_config.model_dump(),
            "status": "Running",
        },
    }


def error_payload(error: ServiceError) -> Record:
    """``ErrorResponse`` of the HyperDrive client, which reads a message only beside a code that is a number."""
    return {"code": error.status, "message": error.message}
