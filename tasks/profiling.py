"""Profiling: how much CPU and memory one replica of the model needs.

Azure: https://learn.microsoft.com/azure/machine-learning/v1/how-to-deploy-profile-model; SDK: ``Model.profile``.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from settings.deployment import DeploymentSettings, EndpointTestSettings, ProfilingSettings
from settings.workspace import WorkspaceTarget
from tasks.cache_key import cache_key, content_of
from tasks.deployment import inference_configuration
from tasks.endpoint_tests import json_file
from tasks.errors import ProfilingError, http_status
from tasks.operation import azure_operation, explained, first_sentences
from tasks.progress import report
from tasks.values import LatencyProfile, ModelProfile, Origin, PreparedProfile, RegisteredModel, Scoring
from tasks.waiting import poll, within
from tasks.workspace import open_workspace

if TYPE_CHECKING:
    from azureml.core import Dataset, Workspace
    from azureml.core.profile import ModelProfile as AzureProfile

_FILE = "requests.jsonl"
_ROWS = 20
_LOG_LINES = 30
_SUCCEEDED = "Succeeded"
_FINAL = (_SUCCEEDED, "Failed", "Cancelled", "TimedOut")


def prepare_profile(
    target: WorkspaceTarget, tests: EndpointTestSettings, run_id: str, scoring: Scoring, origin: Origin
) -> PreparedProfile:
    """Look for a profile that was made of the same before, and else put the sample where Model.profile reads it.

    The name of a profile is made of all that it depends on: it is found again by a flow that was killed and is started
    again, and by any later one.

    Args:
        run_id: of the training run that the model comes from; it has one version in the registry.
        origin: says whether what others have made may be taken.

    Raises:
        EndpointTestError: the sample is not there.
        ProfilingError: Azure refuses it.
    """
    row = json.dumps(json.loads(json_file(Path(tests.source_directory) / tests.sample)))
    key = cache_key(
        "profile",
        run=run_id,
        scoring={**scoring.model_dump(), "source_directory": content_of(Path(scoring.source_directory))},
        sample=row,
        fresh=origin.flow_run_id if origin.fresh else None,
    )
    sample = f"profiling/{hashlib.sha256(row.encode()).hexdigest()[:16]}"
    workspace = open_workspace(target)
    with explained(ProfilingError, "prepare the profile", "Check the workspace's default datastore."):
        name, state = _attempt_of(workspace, f"profile-{key}")
        if state is None:
            _upload(workspace, sample, row)
    return PreparedProfile(name=name, sample_path=f"{sample}/{_FILE}", found=state == _SUCCEEDED)


def profile_model(
    target: WorkspaceTarget,
    deployment: DeploymentSettings,
    model: RegisteredModel,
    scoring: Scoring,
    prepared: PreparedProfile,
    minutes: float,
) -> ModelProfile:
    """Load one replica with the sample request, and bring back what Azure recommends for it, within the bounds.

    Args:
        minutes: the deadline.

    Raises:
        ProfilingError: the service did not start, or did not answer the sample; carries the end of its log.
        OperationTimeout: the profile did not end in time.
    """
    from azureml.core import Model

    workspace = open_workspace(target)
    what = f"profile model {model.model_id}"
    with explained(ProfilingError, what, "Look at the log below; the scoring script must answer the sample."):
        profile = _find_profile(workspace, prepared.name)
        if profile is None:
            report("measuring")
            profile = Model.profile(
                workspace,
                prepared.name,
                [Model(workspace, model.name, version=model.version)],
                inference_configuration(workspace, scoring),
                input_dataset=_sample_dataset(workspace, prepared.sample_path),
            )
            within(minutes, what, lambda: profile.wait_for_completion(show_output=False))
        elif profile.state not in _FINAL:
            # One that was found has no operation that wait_for_completion could ask for.
            poll(lambda: _state(profile), _FINAL.__contains__, what=what, minutes=minutes)
        details = profile.get_details()
    measured = _value(prepared.name, model, details)
    bounded = within_bounds(measured, deployment.profiling)
    report(f"{bounded.cpu:g} CPU, {bounded.memory_gb:g} GB")
    return bounded


def _attempt_of(workspace: Workspace, name: str) -> tuple[str, str | None]:
    """The name of a profile that has not failed, with its state; or else the next name that is free."""
    attempt = name
    for number in count(2):
        found = _find_profile(workspace, attempt)
        if found is None:
            return attempt, None
        if found.state == _SUCCEEDED or found.state not in _FINAL:
            report(f"found {found.state}, made before")
            return attempt, str(found.state)
        attempt = f"{name}-{number}"
    raise LookupError("count() has no end")


def _find_profile(workspace: Workspace, name: str) -> AzureProfile | None:
    from azureml.core.profile import ModelProfile as AzureProfile
    from azureml.exceptions import WebserviceException

    try:
        return AzureProfile(workspace, name)
    except IndexError:  # the SDK takes the first of an empty list
        return None
    except WebserviceException as error:
        if http_status(error) == 404:
            return None
        raise


def _state(profile: AzureProfile) -> str:
    profile._update_creation_state()
    return str(profile.state)


def _upload(workspace: Workspace, folder: str, row: str) -> None:
    """The sample, one JSON text a row. The folder is made of its content: the same sample is stored once."""
    from azureml.core import Dataset

    with tempfile.TemporaryDirectory() as directory:
        Path(directory, _FILE).write_text((row + "\n") * _ROWS)
        target = (workspace.get_default_datastore(), folder)
        Dataset.File.upload_directory(directory, target, overwrite=True, show_progress=False)


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
    if details.get("state") != _SUCCEEDED:
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
prepare_profile_task = azure_operation("prepare profile")(prepare_profile)
