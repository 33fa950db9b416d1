"""Registration: the run's model becomes a version in the workspace's registry.

Azure: https://learn.microsoft.com/azure/machine-learning/concept-model-management-and-deployment; SDK:
``Run.register_model``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from settings.deployment import DeploymentSettings
from settings.workspace import WorkspaceTarget
from tasks.cache_key import cache_key, content_of
from tasks.errors import RegistrationError
from tasks.evaluation import PRODUCTION, STAGE_TAG, model_version
from tasks.operation import azure_operation, explained
from tasks.progress import report
from tasks.values import (
    Comparison,
    Lineage,
    ModelVersion,
    RegisteredModel,
    Scoring,
    UnfinishedRelease,
)
from tasks.workspace import open_workspace

if TYPE_CHECKING:
    from azureml.core import Model, Run, Workspace

ARCHIVED, ROLLED_BACK = "archived", "rolled-back"
"""Stages of models that production served once; the second was taken out of it by hand."""
SCORING_FOLDER = "scoring"
"""Where a run keeps the scoring scripts that its model was registered with, each below a key of its content."""

MODEL_CARD_FOLDER = "model_card"
"""Where a run keeps the card of its model."""

# Tags, since a version may be released again with another scoring script: how it was served when it was last released,
# and how the release that goes on is to serve it.
_SCORING, _SCORING_OF_CANDIDATE = "scoring", "scoring_of_candidate"
_COMPARED_WITH = "compared_with"
_LONGEST = 1000  # characters of a property's value


def register_model(
    target: WorkspaceTarget,
    deployment: DeploymentSettings,
    comparison: Comparison,
    scoring: Scoring,
    lineage: Lineage,
    card: Mapping[str, bytes],
) -> RegisteredModel:
    """Register the candidate's model, once per run: a version that the run has made already is found again.

    The scoring script is kept with the run, so that the version can be served again later as it is served now. So is
    the model card, to which the version's property ``model_card`` leads.

    Args:
        card: its files by name, the first of which is the card itself.

    Raises:
        RegistrationError: the run has no such file, or Azure refuses the model.
    """
    from azureml.core import Model, Run

    settings, run_id = deployment.model, comparison.candidate.run_id
    workspace = open_workspace(target)
    what = f"register the model of run '{run_id}' as '{settings.name}'"
    with explained(RegistrationError, what, "Check deployment.model in the settings."):
        run = Run.get(workspace, run_id)
        files = run.get_file_names()
        folder = f"{SCORING_FOLDER}/{cache_key('scoring', content=content_of(Path(scoring.source_directory)))}"
        kept = scoring.model_copy(update={"source_directory": folder}).model_dump_json()
        script = {} if any(name.startswith(f"{folder}/") for name in files) else _files_of(scoring, folder)
        made = Model.list(workspace, name=settings.name, run_id=run_id)
        if made:
            _upload(run, script)
            made[0].add_tags({_SCORING_OF_CANDIDATE: kept})
            return _value(made[0])
        if not any(name == settings.path or name.startswith(settings.path.rstrip("/") + "/") for name in files):
            outputs = sorted(name for name in files if name.startswith("outputs/"))
            raise RegistrationError(
                f"Run '{run_id}' has no file '{settings.path}'; its outputs are: {', '.join(outputs) or 'none'}.",
                "Let the training script write the model there (environment variable MODEL_FILE), or correct "
                "deployment.model.path.",
            )
        _upload(run, {**script, **{f"{MODEL_CARD_FOLDER}/{name}": content for name, content in card.items()}})
        model = run.register_model(
            settings.name,
            model_path=settings.path,
            tags={
                **settings.tags,
                STAGE_TAG: "candidate",
                _SCORING_OF_CANDIDATE: kept,
                **_searchable(comparison, lineage),
            },
            properties={
                **settings.properties,
                **_lineage(comparison, lineage, run),
                "model_card": f"{MODEL_CARD_FOLDER}/{next(iter(card))}",
            },
            model_framework=settings.model_framework,
            model_framework_version=settings.model_framework_version,
            description=settings.description,
        )
    report(model.id)
    return _value(model)


def _files_of(scoring: Scoring, folder: str) -> dict[str, bytes]:
    """What the scoring script consists of, as files in ``folder``."""
    directory = Path(scoring.source_directory)
    return {f"{folder}/{name}": (directory / name).read_bytes() for name in content_of(directory)}


def _upload(run: Run, files: Mapping[str, bytes]) -> None:
    """Keep files with the run, all at once: the SDK takes a quarter of a second for each call."""
    if not files:
        return
    with tempfile.TemporaryDirectory() as directory:
        paths = [Path(directory, str(number)) for number in range(len(files))]
        for path, content in zip(paths, files.values(), strict=True):
            path.write_bytes(content)
        run.upload_files(list(files), [str(path) for path in paths])


def _searchable(comparison: Comparison, lineage: Lineage) -> dict[str, str]:
    """What models are looked for by: ``Model.list(workspace, tags=[["data_fingerprint", ...]])``."""
    tags = {"run_id": comparison.candidate.run_id, "started_by": lineage.started_by}
    if lineage.data_fingerprint is not None:
        tags["data_fingerprint"] = lineage.data_fingerprint
    return tags


def _lineage(comparison: Comparison, lineage: Lineage, run: Run) -> dict[str, str]:
    candidate, production = comparison.candidate, comparison.production
    # The SDK notes the commit of the training code when it submits a run from a Git repository.
    noted = {"commit": "azureml.git.commit", "commit_dirty": "azureml.git.dirty"}
    known = {
        **{name: run.properties.get(key) for name, key in noted.items()},
        "training_packages": run.tags.get("packages"),
        "data_source": lineage.data_source,
        "data_fingerprint": lineage.data_fingerprint,
        "test_data_fingerprint": comparison.test_data_fingerprint,
    }
    return {
        **{f"metric_{name}": repr(value) for name, value in candidate.metrics.items()},
        **{name: value for name, value in known.items() if value is not None},
        _COMPARED_WITH: f"{production.name}:{production.version}" if production else "none",
        "comparison": "; ".join(comparison.reasons)[:_LONGEST],
        "training_environment": f"{candidate.environment_name}:{candidate.environment_version}",
        "settings_sha256": lineage.settings_sha256,
        "started_by": lineage.started_by,
        "flow_run_id": lineage.flow_run_id,
    }


def _value(model: Model) -> RegisteredModel:
    return RegisteredModel(name=model.name, version=int(model.version), model_id=model.id, run_id=model.run_id)


def scoring_of(target: WorkspaceTarget, version: ModelVersion, directory: Path) -> Scoring:
    """How a version was served when it was released, with its scoring script brought back into ``directory``.

    Raises:
        RegistrationError: the version does not say so: it was not released by this flow.
    """
    from azureml.core import Run

    workspace = open_workspace(target)
    what = f"bring back the scoring script of model {version.name}:{version.version}"
    with explained(RegistrationError, what, "Deploy the former version by hand."):
        told = _model(workspace, version.name, version.version).tags.get(_SCORING)
        if told is None:
            raise RegistrationError(
                f"Model {version.name}:{version.version} does not say how it was served.",
                "Deploy it by hand with the scoring script that belongs to it.",
            )
        scoring = Scoring.model_validate_json(told)
        folder = scoring.source_directory
        Run.get(workspace, version.run_id).download_files(prefix=folder, output_directory=str(directory))
    return scoring.model_copy(update={"source_directory": str(directory / folder)})


def mark_released(
    target: WorkspaceTarget,
    released: RegisteredModel | ModelVersion,
    former: ModelVersion | None,
    replaced_as: str = ARCHIVED,
) -> None:
    """Say in the models' tags which one production serves now, and what became of the one before.

    The tag of the released model is written last: as long as it is missing, the release is not finished.

    Args:
        former: what production served before, which has no tag when its own release was broken off.
        replaced_as: the stage of the model that was replaced, "archived" or "rolled-back".

    Raises:
        RegistrationError: the tags cannot be written.
    """
    workspace = open_workspace(target)
    what = f"tag model {released.name}:{released.version}"
    with explained(RegistrationError, what, "Set the tag `stage` by hand in the studio."):
        replaced = {int(model.version): model for model in _with_stage(workspace, released.name, PRODUCTION)}
        if former is not None and former.name == released.name and former.version not in replaced:
            replaced[former.version] = _model(workspace, former.name, former.version)
        for version, model in replaced.items():
            if version != released.version:
                model.add_tags({STAGE_TAG: replaced_as})
        model = _model(workspace, released.name, released.version)
        by_hand = replaced_as == ROLLED_BACK  # then it is served as it was when it was released
        scoring = model.tags.get(_SCORING if by_hand else _SCORING_OF_CANDIDATE)
        model.add_tags({STAGE_TAG: PRODUCTION, **({_SCORING: scoring} if scoring else {})})


def unfinished_release(target: WorkspaceTarget, served: ModelVersion) -> UnfinishedRelease | None:
    """Whether the release of the model that production serves was broken off before its tags were written.

    Raises:
        RegistrationError: the tags cannot be read.
    """
    workspace = open_workspace(target)
    what = f"read the tags of model {served.name}:{served.version}"
    with explained(RegistrationError, what, "Look at the model in the Azure ML studio."):
        model = _model(workspace, served.name, served.version)
        if model.tags.get(STAGE_TAG) == PRODUCTION:
            return None
        tagged = _with_stage(workspace, served.name, PRODUCTION)
        name, _, version = model.properties.get(_COMPARED_WITH, "").rpartition(":")
        former = tagged[0] if tagged else _model(workspace, name, int(version)) if name else None
        return UnfinishedRelease(model=_value(model), former=former and model_version(workspace, former))


def version_to_restore(
    target: WorkspaceTarget, deployment: DeploymentSettings, wanted: int | None, served: ModelVersion
) -> ModelVersion:
    """The version that a rollback brings back: the wanted one, or the one that was released before the served one.

    Raises:
        RegistrationError: there is none, or it was never released.
    """
    workspace, name = open_workspace(target), deployment.model.name
    with explained(RegistrationError, f"find the versions of model '{name}'", "Look at them in the studio."):
        stages = {
            int(model.version): stage
            for stage in (PRODUCTION, ARCHIVED, ROLLED_BACK)
            for model in _with_stage(workspace, name, stage)
        }
        chosen = wanted if wanted in stages else None if wanted else released_before(served.version, stages)
        if chosen is None:
            others = ", ".join(str(version) for version in sorted(stages) if version != served.version) or "none"
            missing = (
                f"Version {wanted} of model '{name}' was never released."
                if wanted
                else f"No version of model '{name}' was released before version {served.version}, which is served now."
            )
            raise RegistrationError(missing, f"Versions that can be brought back with --to: {others}.")
        return model_version(workspace, _model(workspace, name, chosen))


def released_before(served: int, stages: Mapping[int, str]) -> int | None:
    """The version to go back to from the served one; None when there is none. Pure.

    Args:
        stages: of each version that was ever released, from its tag. The served one is not among them when its release
            was broken off, and has the stage of a former one when a rollback to it was.
    """
    stage = stages.get(served)
    if stage in (ARCHIVED, ROLLED_BACK):
        return served
    if stage is None and PRODUCTION in stages.values():
        return max(version for version, each in stages.items() if each == PRODUCTION)
    return max((version for version, each in stages.items() if each == ARCHIVED and version < served), default=None)


def _with_stage(workspace: Workspace, name: str, stage: str) -> list[Model]:
    from azureml.core import Model

    return list(Model.list(workspace, name=name, tags=[[STAGE_TAG, stage]]))


def _model(workspace: Workspace, name: str, version: int) -> Model:
    from azureml.core import Model

    return Model(workspace, name, version=version)


scoring_of_task = azure_operation("find former scoring script")(scoring_of)
register_model_task = azure_operation("registration")(register_model)
mark_released_task = azure_operation("mark as production")(mark_released)
unfinished_release_task = azure_operation("unfinished release")(unfinished_release)
version_to_restore_task = azure_operation("version to restore")(version_to_restore)
