"""What Azure ML builds an image for: a directory laid out as the inside of a scoring container, and its environment."""

from __future__ import annotations

import asyncio
import os
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emulator.environments.builder import EnvironmentBuildError
from emulator.management.store import Workspace
from emulator.models.files import artifact_file, place_model
from emulator.models.store import Model
from emulator.services.fork_server import ForkServer
from emulator.services.store import DeploymentError

if TYPE_CHECKING:
    from emulator.server import Emulator

_FROM_HOST = ("HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH")
_FIND_SERVER = "import importlib.util as u, sys; sys.exit(u.find_spec('azureml_inference_server_http') is None)"


@dataclass(frozen=True)
class ScoringContainer:
    """What a replica needs to start.

    Attributes:
        python: the interpreter of the scoring environment.
        root: AML_APP_ROOT, with the entry script and ``azureml-models`` below it.
        environment: all environment variables of the process.
        fork_server: starts it.
    """

    python: Path
    root: Path
    environment: dict[str, str]
    fork_server: ForkServer


@dataclass(frozen=True)
class ContainerImage:
    """Everything that a scoring container is made of, resolved when it was asked for.

    Attributes:
        service_name: shown in the Swagger document.
        request: the SDK's ``environmentImageRequest``.
        models: each with its files by their path below its version's directory.
        assets: (the request's asset, the file behind it).
    """

    service_name: str
    request: dict[str, Any]
    models: list[tuple[Model, dict[str, Path]]]
    assets: list[tuple[dict[str, Any], Path]]


def resolve_image(
    emulator: Emulator, workspace: Workspace, service_name: str, request: dict[str, Any]
) -> ContainerImage:
    """Find every model and file that the request names.

    Raises:
        ServiceError: 404 for one that is not there.
    """
    registry = emulator.models
    models = [registry.store.model(workspace.id, model_id) for model_id in request.get("modelIds") or []]
    return ContainerImage(
        service_name=service_name,
        request=request,
        models=[(model, registry.files(workspace, model)) for model in models],
        assets=[
            (asset, artifact_file(emulator.artifacts, workspace, str(asset["url"])))
            for asset in request.get("assets") or []
        ],
    )


def model_directory(models: list[Model]) -> str:
    """AZUREML_MODEL_DIR below AML_APP_ROOT: for one model its version's directory, for several the parent of all."""
    if len(models) == 1:
        return f"azureml-models/{models[0].name}/{models[0].version}"
    return "azureml-models"


def lay_out(image: ContainerImage, root: Path) -> None:
    """Fill AML_APP_ROOT: models, the unpacked source directory or the entry script, the SDK's driver."""
    shutil.rmtree(root, ignore_errors=True)
    (root / "azureml-models").mkdir(parents=True)
    for model, files in image.models:
        place_model(files, model, root / "azureml-models")
    for asset, file in image.assets:
        if asset.get("unpack"):
            with tarfile.open(file) as archive:
                archive.extractall(root, filter="data")
        else:
            shutil.copy2(file, root / Path(str(asset["id"])).name)


def container_environment(image: ContainerImage, root: Path, python: Path) -> dict[str, str]:
    """The environment variables of a replica: what Azure sets in the container, and the environment's own."""
    host = {name: os.environ[name] for name in _FROM_HOST if name in os.environ}
    own = image.request["environment"].get("environmentVariables") or {}
    return {
        **host,
        "PATH": os.pathsep.join((str(python.parent), os.environ.get("PATH", os.defpath))),
        "AML_APP_ROOT": str(root),
        "AZUREML_MODEL_DIR": str(root / model_directory([model for model, _ in image.models])),
        "SERVICE_NAME": image.service_name,
        "PYTHONUNBUFFERED": "1",
        **{str(name): str(value) for name, value in own.items()},
    }


async def _check_server(python: Path) -> None:
    process = await asyncio.create_subprocess_exec(str(python), "-c", _FIND_SERVER, stdin=asyncio.subprocess.DEVNULL)
    if await process.wait() != 0:
        raise DeploymentError(
            "DeployService",
            "InferenceServerMissing",
            "The environment has no inference server, so that nothing can be served: add azureml-defaults or "
            "azureml-inference-server-http to its pip packages.",
            "No module named 'azureml_inference_server_http'",
        )


async def build_container(
    emulator: Emulator,
    image: ContainerImage,
    directory: Path,
    *,
    build_log: Path,
    progress: Callable[[str], None],
    reuse: bool = False,
) -> ScoringContainer:
    """Build the environment and lay the container out below ``directory``.

    Args:
        emulator: whose environments are used.
        image: what it is made of.
        directory: of this container alone; emptied first.
        build_log: gets the environment's build log.
        progress: is told what is going on, in a few words.
        reuse: take the files as they lie there from an earlier time.

    Raises:
        DeploymentError: a package cannot be installed, the server is missing, or an archive cannot be read.
    """
    root = directory / "azureml-app"
    progress("Building the environment")
    try:
        python = await emulator.environments.builder.ensure(image.request["environment"], build_log)
    except EnvironmentBuildError as error:
        raise DeploymentError("BuildEnvironment", "EnvironmentBuildFailed", error.message, error.log_tail) from error
    await _check_server(python)
    if not (reuse and root.is_dir()):
        progress("Placing models and entry script")
        try:
            await asyncio.to_thread(lay_out, image, root)
        except (OSError, tarfile.TarError) as error:
            raise DeploymentError(
                "DeployService", "ContainerFailed", f"The container's files cannot be laid out: {error}.", ""
            ) from error
    variables = container_environment(image, root, python)
    return ScoringContainer(python, root, variables, emulator.services.fork_servers.of(python, variables))
