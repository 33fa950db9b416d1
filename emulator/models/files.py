"""Which files make up a model or another artifact, and how they are laid out in a scoring container."""

from __future__ import annotations

import shutil
from pathlib import Path, PurePosixPath

from emulator.artifacts.routes import ArtifactsService
from emulator.errors import ServiceError, bad_request
from emulator.management.store import Workspace
from emulator.models.store import Asset, Model

_ARTIFACT_URL = "aml://artifact/"


def _split(artifact_id: str) -> tuple[str, str, str]:
    parts = artifact_id.split("/", 2)
    if len(parts) != 3 or not all(parts):
        raise bad_request(f"'{artifact_id}' is not the id of an artifact: it is origin/container/path.")
    return parts[0], parts[1], parts[2]


def artifact_file(artifacts: ArtifactsService, workspace: Workspace, url: str) -> Path:
    """The file behind ``aml://artifact/<origin>/<container>/<path>``.

    Raises:
        ServiceError: 400 when the address is of another kind, 404 when there is no such file.
    """
    if not url.startswith(_ARTIFACT_URL):
        raise bad_request(
            f"'{url}' is not the address of an artifact ({_ARTIFACT_URL}…), which is all that is emulated."
        )
    path = artifacts.path(workspace, *_split(url.removeprefix(_ARTIFACT_URL)))
    if not path.is_file():
        raise ServiceError(404, "ResourceNotFound", f"Artifact '{url}' was not found in workspace '{workspace.name}'.")
    return path


def asset_files(artifacts: ArtifactsService, workspace: Workspace, asset: Asset) -> dict[str, Path]:
    """The files of an asset by their path relative to its root.

    As in ``Model.download``, the last segment of a prefix is kept: ``outputs/model.pkl`` lies at ``model.pkl``.
    """
    found: dict[str, Path] = {}
    for artifact in asset.artifacts:
        artifact_id = artifact.get("prefix") or artifact.get("id") or ""
        origin, container, prefix = _split(artifact_id)
        root = PurePosixPath(prefix).parent
        for path in artifacts.list(workspace, origin, container, prefix):
            found[str(PurePosixPath(path).relative_to(root))] = artifacts.path(workspace, origin, container, path)
    return found


def place_model(files: dict[str, Path], model: Model, models_directory: Path) -> None:
    """Copy a model's files to where ``Model.get_model_path`` looks: ``azureml-models/<name>/<version>/…``."""
    for path, file in files.items():
        target = models_directory / model.name / str(model.version) / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, target)
