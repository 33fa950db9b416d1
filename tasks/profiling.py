"""Profiling: how much CPU and memory one replica of the model needs.

Azure: https://learn.microsoft.com/azure/machine-learning/v1/how-to-deploy-profile-model; SDK: ``Model.profile``.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from settings.deployment import DeploymentSettings, EndpointTestSettings, ProfilingSettings
from settings.workspace import WorkspaceTarget
from tasks.deployment import inference_configuration
from tasks.endpoint_tests import json_file
from tasks.errors import ProfilingError
from tasks.operation import azure_operation, explained, first_sentences
from tasks.progress import report
from tasks.values import LatencyProfile, ModelProfile, RegisteredModel, Scoring
from tasks.waiting import within
from tasks.workspace import open_workspace

if TYPE_CHECKING:
    from azureml.core import Dataset, Workspace

_FILE = "requests.jsonl"
_ROWS = 20
_LOG_LINES = 30


def profile_model(
    target: WorkspaceTarget,
    deployment: DeploymentSettings,
    model: RegisteredModel,
    scoring: Scoring,
    sample_path: str,
    minutes: float,
) -> ModelProfile:
    """Load one replica with the sample request, and bring back what Azure recommends for it, within the bounds.

    Args:
        sample_path: of :func:`upload_sample`.
        minutes: the deadline.

    Raises:
        ProfilingError: the service did not start, or did not answer the sample; carries the end of its log.
        OperationTimeout: the profile did not end in time.
    """
    from azureml.core import Model

    workspace = open_workspace(target)
    name = f"profile-{uuid.uuid4().hex[:12]}"
    what = f"profile model {model.model_id}"
    with explained(ProfilingError, what, "Look at the log below; the scoring script must answer the sample."):
        dataset = _sample_dataset(workspace, sample_path)
        report("measuring")
        profile = Model.profile(
            workspace,
            name,
            [Model(workspace, model.name, version=model.version)],
            inference_configuration(workspace, scoring),
            input_dataset=dataset,
        )
        within(minutes, what, lambda: profile.wait_for_completion(show_output=False))
        details = profile.get_details()
    measured = _value(name, model, details)
    bounded = within_bounds(measured, deployment.profiling)
    report(f"{bounded.cpu:g} CPU, {bounded.memory_gb:g} GB")
    return bounded


def upload_sample(target: WorkspaceTarget, tests: EndpointTestSettings) -> str:
    """Put the sample request, one JSON text a row, where Model.profile reads it.

    Returns its path on the default datastore, which is made of its content: the same sample is uploaded once.

    Raises:
        EndpointTestError: the sample is not there.
        ProfilingError: Azure refuses it.
    """
    from azureml.core import Dataset

    row = json.dumps(json.loads(json_file(Path(tests.source_directory) / tests.sample)))
    folder = f"profiling/{hashlib.sha256(row.encode()).hexdigest()[:16]}"
    with explained(ProfilingError, "upload the sample request", "Check the workspace's default datastore."):
        datastore = open_workspace(target).get_default_datastore()
        with tempfile.TemporaryDirectory() as directory:
            Path(directory, _FILE).write_text((row + "\n") * _ROWS)
            Dataset.File.upload_directory(directory, (datastore, folder), overwrite=True, show_progress=False)
    return f"{folder}/{_FILE}"


def _sample_dataset(workspace: Workspace, path: str) -> Dataset:
    from azureml.core import Dataset
    from azureml.data.dataset_type_definitions import PromoteHeadersBehavior

    # Model.profile reads all of it; to have it read for validation and for types first would only take longer.
    return Dataset.Tabular.from_delimited_files(
        (workspace.get_default_datastore(), path),
        validate=False,
        infer_column_types=False,
        separator="\n",
        header=PromoteHeadersBehavior.NO_HEADERS,
    )


def within_bounds(profile: ModelProfile, bounds: ProfilingSettings) -> ModelProfile:
    """The profile with at most what the settings allow, and sentences about what was lowered."""
    capped, changes = [], {}
    for name, most, what in (
        ("cpu", bounds.max_cpu_cores, "CPU cores"),
        ("memory_gb", bounds.max_memory_gb, "GB of memory"),
    ):
        recommended = getattr(profile, name)
        if most is not None and recommended > most:
            changes[name] = most
            capped.append(f"{most:g} {what} instead of the recommended {recommended:g}, by deployment.profiling")
    return profile.model_copy(update={**changes, "capped": tuple(capped)})


def resources_missing(deployment: DeploymentSettings) -> list[str]:
    """The options that would have to be set for the services to do without a profile."""
    return [
        f"{stage}.{name}"
        for stage in ("dev_deployment", "test_deployment", "prod_deployment")
        for name in ("cpu_cores", "memory_gb")
        if getattr(getattr(deployment, stage), name) is None
    ]


def _value(name: str, model: RegisteredModel, details: dict[str, Any]) -> ModelProfile:
    if details.get("state") != "Succeeded":
        reason = first_sentences((details.get("error") or {}).get("message"))
        raise ProfilingError(
            f"The profile of model {model.model_id} ended as {details.get('state')}{reason}.",
            "Mend the scoring script or its packages.",
            log_tail=_log_tail(details.get("errorLogsUri")),
        )
    return ModelProfile(
        name=name,
        cpu=details["recommendedCpu"],
        memory_gb=details["recommendedMemoryInGB"],
        latency=LatencyProfile(
            p50_ms=details.get("latencyPercentile50InMs"),
            p90_ms=details.get("latencyPercentile90InMs"),
            p95_ms=details.get("latencyPercentile95InMs"),
            p99_ms=details.get("latencyPercentile99InMs"),
        ),
        success_rate=details["successRate"],
        requests_per_second=details["measuredQueriesPerSecond"],
    )


def _log_tail(address: str | None) -> str | None:
    import requests

    answer = requests.get(address, timeout=30) if address else None
    return "\n".join(answer.text.splitlines()[-_LOG_LINES:]) if answer is not None and answer.ok else None


profile_model_task = azure_operation("profile", lasting=True)(profile_model)
upload_sample_task = azure_operation("profile sample")(upload_sample)
