"""Profiling: how much CPU and memory one replica of the model needs.

Azure: https://learn.microsoft.com/azure/machine-learning/v1/how-to-deploy-profile-model; SDK: ``Model.profile``.
"""

from __future__ import annotations

import json
import tempfile
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from settings.deployment import DeploymentSettings
from settings.workspace import WorkspaceTarget
from tasks.deployment import inference_configuration
from tasks.errors import ProfilingError
from tasks.operation import azure_operation, explained, first_sentences
from tasks.progress import report
from tasks.values import LatencyProfile, ModelProfile, RegisteredModel, Scoring
from tasks.waiting import within
from tasks.workspace import open_workspace

if TYPE_CHECKING:
    from azureml.core import Dataset, Workspace

_ROWS = 20
_LOG_LINES = 30


def profile_model(
    target: WorkspaceTarget,
    deployment: DeploymentSettings,
    model: RegisteredModel,
    scoring: Scoring,
    minutes: float,
) -> ModelProfile:
    """Load one replica with the sample request and bring back what Azure recommends for it.

    Args:
        minutes: the deadline.

    Raises:
        ProfilingError: the service did not start, or did not answer the sample; carries the end of its log.
        OperationTimeout: the profile did not end in time.
    """
    from azureml.core import Model

    workspace = open_workspace(target)
    tests = deployment.endpoint_tests
    name = f"profile-{uuid.uuid4().hex[:12]}"
    what = f"profile model {model.model_id}"
    with explained(ProfilingError, what, "Look at the log below; the scoring script must answer the sample."):
        report("uploading the sample")
        dataset = _sample_dataset(workspace, Path(tests.source_directory) / tests.sample, name)
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
    return _value(name, model, details)


def _sample_dataset(workspace: Workspace, sample: Path, name: str) -> Dataset:
    """The sample request, one JSON text a row, as the tabular data set that Model.profile reads."""
    from azureml.core import Dataset
    from azureml.data.dataset_type_definitions import PromoteHeadersBehavior

    row = json.dumps(json.loads(sample.read_text()))
    place = (workspace.get_default_datastore(), f"profiling/{name}")
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "requests.jsonl").write_text((row + "\n") * _ROWS)
        Dataset.File.upload_directory(directory, place, overwrite=True, show_progress=False)
    return Dataset.Tabular.from_delimited_files(
        (place[0], f"{place[1]}/requests.jsonl"), separator="\n", header=PromoteHeadersBehavior.NO_HEADERS
    )


def _value(name: str, model: RegisteredModel, details: dict[str, Any]) -> ModelProfile:
    if details.get("state") != "Succeeded":
        reason = first_sentences((details.get("error") or {}).get("message"))
        raise ProfilingError(
            f"The profile of model {model.model_id} ended as {details.get('state')}{reason}.",
            "Mend the scoring script or its packages.",
            log_tail=_log_tail(details.get("errorLogsUri")),
        )
    report(f"{details['recommendedCpu']:g} CPU, {details['recommendedMemoryInGB']:g} GB")
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
