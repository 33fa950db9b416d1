"""What a run would create, change and use if it started now. Everything is read, and nothing is changed."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from settings.compute_target import AmlComputeSettings, DsvmSettings
from settings.workspace import WorkspaceTarget
from tasks.compute import certificate_changes, check_purpose, differences, find_compute, nodes_of, refuse_too_small
from tasks.data_validation import validate_data
from tasks.deployment import Stage, service_name
from tasks.environment import find_environment, latest_if_same, scoring_environment, training_environment
from tasks.errors import EnvironmentBuildError, MlopsError, WorkspaceError, http_status
from tasks.evaluation import find_service, production_model
from tasks.gate.rules import listed_metrics
from tasks.operation import explained
from tasks.production import check_kind
from tasks.progress import report
from tasks.resume import find_former_run
from tasks.training import arguments, attempt_of, check_source_directory, experiment_key
from tasks.training_compute import (
    cannot_change,
    changeable_differences,
    find_training_compute,
    fixed_differences,
    wanted_compute,
)
from tasks.values import DataReport, Origin, PlannedStep, RegisteredEnvironment, SubmittedRun
from tasks.workspace import emulator_answers, open_workspace

if TYPE_CHECKING:
    from azureml.core import Environment

    from settings import Settings
    from settings.compute_target import AksProdSettings, AksTestSettings
    from settings.data import DataSettings
    from settings.deployment import ImageSettings
    from settings.experiment import ExperimentSettings
    from tasks.compute import Purpose

# (action, detail, cost) of a step; a step that asks Azure may raise MlopsError instead.
_Found = tuple[str, str, str | None]


def plan(target: WorkspaceTarget, settings: Settings, fresh: bool) -> tuple[PlannedStep, ...]:
    """The steps of the flow in their order. One that could not be carried out says why, as action ``fail``.

    Args:
        fresh: train anew, even where the same was trained before.

    Raises:
        ConnectionToAzureError: no login, or no connection.
    """
    there = workspace_is_there(target)
    deployment = settings.deployment
    clusters, rules = settings.compute_target.deployment, settings.data

    @cache
    def data() -> DataReport | None:
        """What the data gate would see; None where it cannot be known before the workspace is there."""
        readable = rules is not None and (there or rules.source.dataset is None)
        return validate_data(target, rules) if rules is not None and readable else None

    steps: list[tuple[str, Callable[[], _Found]]] = [
        ("workspace", lambda: _workspace(target, there, settings.workspace.create_if_missing)),
        *([("data", lambda: _data(rules, data()))] if rules is not None else []),
        ("training compute", lambda: _training_compute(target, settings, there)),
        ("training environment", lambda: _training_environment(target, settings.experiment, there)),
        ("scoring environment", lambda: _scoring_environment(target, deployment.image, there)),
        ("training", lambda: _training(target, settings, there, data(), fresh)),
        ("evaluation", lambda: _evaluation(target, settings, there)),
        ("test cluster", lambda: _cluster(target, clusters.aks_test, "DEV_TEST", there)),
        ("prod cluster", lambda: _cluster(target, clusters.aks_prod, "FAST_PROD", there)),
        ("registration", lambda: _registration(target, deployment.model.name, there)),
        ("profile", lambda: _profile(settings)),
        ("dev", lambda: _trial(target, settings, "dev", there)),
        ("test", lambda: _trial(target, settings, "test", there)),
        *([("approval", lambda: _approval(settings))] if deployment.prod_deployment.approval == "required" else []),
        ("prod", lambda: _release(target, settings, there)),
    ]
    return tuple(_planned(step, question) for step, question in steps)


def _planned(step: str, question: Callable[[], _Found]) -> PlannedStep:
    report(step)
    try:
        action, detail, cost = question()
    except MlopsError as error:
        action, detail, cost = "fail", str(error), None
    return PlannedStep.model_validate({"step": step, "action": action, "detail": detail, "cost": cost})


def workspace_is_there(target: WorkspaceTarget) -> bool:
    """Whether there is such a workspace. An emulator that does not run is not started to find out.

    Raises:
        ConnectionToAzureError, WorkspaceError: it cannot be asked.
    """
    if target.cloud == "emulator" and not emulator_answers():
        return False
    try:
        open_workspace(target)
    except WorkspaceError as error:
        if http_status(error) == 404:
            return False
        raise
    return True


def _nodes(count: int, size: str) -> str:
    return f"{count} {'node' if count == 1 else 'nodes'} of {size}"


def _workspace(target: WorkspaceTarget, there: bool, create_if_missing: bool) -> _Found:
    if there:
        return "keep", f"{target.name} ({target.cloud})", None
    if not create_if_missing:
        raise WorkspaceError(
            f"There is no workspace '{target.name}'.", "Set workspace.create_if_missing, or correct the name."
        )
    if target.cloud == "emulator":
        stopped = "" if emulator_answers() else ", which does not run: what it keeps is not looked at"
        return "create", f"{target.name} (emulator{stopped})", None
    extra = "with its storage account, key vault, Application Insights and, later, container registry"
    return "create", f"{target.name} in {target.location}, {extra}", "what these four store"


def _training_compute(target: WorkspaceTarget, settings: Settings, there: bool) -> _Found:
    wanted = wanted_compute(settings.compute_target)
    found = find_training_compute(target, wanted) if there else None
    nodes, cost = wanted.name, None
    if isinstance(wanted, AmlComputeSettings):
        nodes = f"{wanted.name}: {wanted.min_nodes} to {_nodes(wanted.max_nodes, wanted.vm_size)}"
        cost = f"{_nodes(wanted.min_nodes, wanted.vm_size)} as long as it is there" if wanted.min_nodes else None
    elif isinstance(wanted, DsvmSettings):
        cost = f"{_nodes(1, wanted.vm_size or 'Standard_DS3_v2')} until it is deleted"
    if found is None:
        return "create", nodes, cost
    fixed = tuple(fixed_differences(found, wanted))
    if fixed and not settings.compute_target.training.recreate_on_change:
        raise cannot_change(wanted, fixed)
    changes = ", ".join(str(each) for each in (*fixed, *changeable_differences(found, wanted)))
    if fixed:
        return "create", f"{nodes}, anew: {changes}", cost
    return ("change", f"{wanted.name}: {changes}", cost) if changes else ("keep", wanted.name, cost)


def _training_environment(target: WorkspaceTarget, experiment: ExperimentSettings, there: bool) -> _Found:
    if experiment.use_custom_environment:
        return _registered(target, experiment.environment, experiment.environment_version, there)
    return _environment(target, training_environment(experiment), there)


def _scoring_environment(target: WorkspaceTarget, image: ImageSettings, there: bool) -> _Found:
    if image.use_custom_environment:
        return _registered(target, image.name, None, there)
    return _environment(target, scoring_environment(image), there)


def _registered(target: WorkspaceTarget, name: str, version: str | None, there: bool) -> _Found:
    if not there:
        raise EnvironmentBuildError(
            f"Environment '{name}' is not registered: the workspace is not there.", "Register it first."
        )
    found = find_environment(target, name, version)
    return "keep", f"{found.name} version {found.version}", None


def _environment(target: WorkspaceTarget, environment: Environment, there: bool) -> _Found:
    found = latest_if_same(target, environment) if there else None
    if found is not None:
        return "keep", f"{found.name} version {found.version}", None
    return "create", f"{environment.name}, unless an earlier version has the same content", "the build of its image"


def _data(rules: DataSettings, found: DataReport | None) -> _Found:
    if found is None:
        return "run", f"judge {rules.source} by its rules", None
    said = f"{rules.source}: {found.rows} rows"
    if not found.accepted:
        return "run", f"{said}, which break {len(found.failures)} of its rules: the run would end as DataRejected", None
    return "run", f"{said}, which keep every rule", None


def _training(target: WorkspaceTarget, settings: Settings, there: bool, data: DataReport | None, fresh: bool) -> _Found:
    experiment, wanted = settings.experiment, wanted_compute(settings.compute_target)
    check_source_directory(experiment.source_directory)
    before = _trained_before(target, settings, data) if there and not fresh else None
    if before is not None:
        return "keep", f"run {before.run_id}, which is {before.found}: the same on the same data", None
    line = " ".join(str(word) for word in (experiment.entry_script, *arguments(experiment)))
    what, nodes = f"{line} on {wanted.name}", experiment.distributed_training.node_count
    sampling = experiment.hyperparameter_sampling
    if sampling.use_hyperparameter_sampling:
        runs, at_once = sampling.max_total_runs or 1, sampling.max_concurrent_runs or sampling.max_total_runs or 1
        nodes = min(at_once * nodes, settings.compute_target.nodes_at_a_time[0])
        what += f", {runs} times with {', '.join(sampling.parameters)} by {sampling.method} search"
    size = getattr(wanted, "vm_size", None)
    used = _nodes(nodes, size) if size else wanted.name
    return "run", what, f"{used} for up to {settings.waiting.training_minutes:g} minutes"


def _environment_of(target: WorkspaceTarget, experiment: ExperimentSettings) -> RegisteredEnvironment | None:
    if experiment.use_custom_environment:
        return find_environment(target, experiment.environment, experiment.environment_version)
    return latest_if_same(target, training_environment(experiment))


def _trained_before(target: WorkspaceTarget, settings: Settings, data: DataReport | None) -> SubmittedRun | None:
    """The run, going on or completed, that this training would find instead of starting."""
    experiment, deployment = settings.experiment, settings.deployment
    environment = _environment_of(target, experiment)
    if environment is None:
        return None
    resumed = experiment.resume_state
    former = find_former_run(target, resumed, deployment) if resumed.resume_from_state else None
    tuned = experiment.hyperparameter_sampling.use_hyperparameter_sampling
    origin = Origin(flow_run_id="", data_fingerprint=data.fingerprint if data else None)
    kind: Literal["training", "tuning"] = "tuning" if tuned else "training"
    compute = wanted_compute(settings.compute_target).name
    key = experiment_key(kind, target, experiment, deployment.model, compute, environment, origin, former)
    run = attempt_of(open_workspace(target), f"{experiment.name}_{key}")
    return run if run.found is not None else None


def _evaluation(target: WorkspaceTarget, settings: Settings, there: bool) -> _Found:
    metrics = ", ".join(listed_metrics(settings.deployment.model.evaluation_parameters)) or "no metric"
    production = production_model(target, settings.deployment) if there else None
    if production is None:
        return "run", f"compare {metrics}: production serves no model, so the first one is promoted", None
    return (
        "run",
        f"compare {metrics} with {production.name} version {production.version} in production",
        None,
    )


def _cluster(
    target: WorkspaceTarget, wanted: AksTestSettings | AksProdSettings, purpose: Purpose, there: bool
) -> _Found:
    nodes = _nodes(*nodes_of(wanted))
    cluster = find_compute(target, wanted.name, "AKS") if there else None
    if cluster is None:
        if there and purpose == "FAST_PROD":
            refuse_too_small(target, wanted)
        return "create", f"{wanted.name}: AKS {purpose}, {nodes}", f"{nodes} until it is deleted"
    check_purpose(cluster, purpose)
    changes = certificate_changes(cluster, wanted)
    said = "; ".join([f"{wanted.name}: AKS {purpose}", *changes, *differences(target, cluster, wanted)])
    if cluster.agent_count is not None:  # Azure does not say it of an attached cluster
        nodes = _nodes(cluster.agent_count, cluster.agent_vm_size)
    return ("change" if changes else "keep"), said, f"{nodes} until it is deleted"


def _registration(target: WorkspaceTarget, name: str, there: bool) -> _Found:
    newest = 0
    if there:
        from azureml.core import Model

        with explained(MlopsError, f"list the versions of model '{name}'", "Look at them in the Azure ML studio."):
            newest = max((model.version for model in Model.list(open_workspace(target), name=name)), default=0)
    return "create", f"{name} version {newest + 1}", None


def _profile(settings: Settings) -> _Found:
    return (
        "run",
        "the model under the sample request",
        f"1 replica for up to {settings.waiting.profile_minutes:g} minutes",
    )


def _service(target: WorkspaceTarget, name: str, there: bool) -> Any:
    with explained(MlopsError, f"ask for service '{name}'", "Look at it in the Azure ML studio."):
        return find_service(open_workspace(target), name) if there else None


def _trial(target: WorkspaceTarget, settings: Settings, stage: Stage, there: bool) -> _Found:
    name = service_name(settings.deployment, stage)
    kind = "a container instance" if stage == "dev" else "replicas on the test cluster"
    left = _service(target, name, there)
    first = "what an earlier run left is deleted; " if left is not None else ""
    cost = f"{kind} for up to {settings.waiting.service_minutes:g} minutes, and its tests"
    return "create", f"{first}service {name}, tested and then deleted", cost


def _approval(settings: Settings) -> _Found:
    minutes = settings.deployment.prod_deployment.approval_minutes
    return "run", f"wait up to {minutes:g} minutes for somebody to approve", None


def _release(target: WorkspaceTarget, settings: Settings, there: bool) -> _Found:
    name, production = service_name(settings.deployment, "prod"), settings.deployment.prod_deployment
    service = _service(target, name, there)
    check_kind(service, settings.deployment)
    replicas = "replicas on the prod cluster, which costs the same with and without"
    if production.strategy == "canary":
        steps = ", ".join(map(str, production.canary.steps))
        what = f"a version of endpoint {name}, tested, then given {steps} % of the traffic, and at last all of it"
        return ("create" if service is None else "change"), what, replicas
    if service is None:
        return "create", f"service {name}, and tests it", replicas
    if service.state == "Failed":
        return "create", f"service {name} anew: the one that is there has failed; and tests it", replicas
    return "change", f"service {name} in place, tests it, and brings the former model back if it fails", replicas
