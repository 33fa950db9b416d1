"""Environments for training and scoring: made from the settings and registered in the workspace.

Registering the same content again gives the same version. Azure: https://learn.microsoft.com/azure/machine-learning/
how-to-use-environments; SDK: ``azureml.core.Environment``.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from settings.experiment import ExperimentSettings
from settings.workspace import WorkspaceTarget
from tasks.errors import EnvironmentBuildError
from tasks.operation import azure_operation, explained
from tasks.values import RegisteredEnvironment
from tasks.workspace import open_workspace

if TYPE_CHECKING:
    from azureml.core import Environment
    from azureml.core.conda_dependencies import CondaDependencies

    from settings.deployment import ImageSettings
    from settings.experiment import RegistrySettings

# The package that brings each framework, on PyPI; conda may call it otherwise. `other` brings none.
_FRAMEWORK_PACKAGES = {"sklearn": "scikit-learn", "pytorch": "torch", "tensorflow": "tensorflow", "chainer": "chainer"}
_CONDA_NAMES = {"torch": "pytorch"}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")  # what a requirement of pip and a specification of conda begin with

# Any of these gives a training script `azureml.core.Run`, and a service Azure's inference server.
_RUN_PACKAGES = ("azureml-core", "azureml-defaults", "azureml-sdk")
_SERVER_PACKAGES = ("azureml-defaults", "azureml-inference-server-http")


def register_training_environment(target: WorkspaceTarget, experiment: ExperimentSettings) -> RegisteredEnvironment:
    """The environment in which the training script runs: registered from the settings, or found where they say so.

    Raises:
        EnvironmentBuildError: a file of packages does not parse, Azure refuses the environment, or it is not there.
    """
    if experiment.use_custom_environment:
        return find_environment(target, experiment.environment, experiment.environment_version)
    return _register(target, training_environment(experiment))


def training_environment(experiment: ExperimentSettings) -> Environment:
    """The environment in which the training script runs, as the settings want it; not registered yet.

    Raises:
        EnvironmentBuildError: a file of packages does not parse.
    """
    from azureml.core import Environment

    environment = Environment(experiment.environment)
    if experiment.user_managed:
        environment.python.user_managed_dependencies = True
        environment.python.interpreter_path = experiment.interpreter_path or environment.python.interpreter_path
    else:
        environment.python.conda_dependencies = _training_dependencies(experiment)
    _container(environment, experiment.docker.custom_image, experiment.docker.custom_image_registry_details)
    return environment


def _training_dependencies(experiment: ExperimentSettings) -> CondaDependencies:
    from azureml.core.conda_dependencies import CondaDependencies

    given, directory = experiment.dependencies, Path(experiment.source_directory)
    framework = framework_requirement(experiment)
    if given.conda_dependencies_file is not None:
        path = directory / given.conda_dependencies_file
        with explained(EnvironmentBuildError, f"read the conda file {path}", "Correct it."):
            dependencies = CondaDependencies(str(path))
        listed = [*dependencies.conda_packages, *dependencies.pip_packages]
        # The file says what there is; only a version that the settings ask for is added to it.
        if "==" in framework and not lists(listed, framework):
            dependencies.add_pip_package(framework)
        return dependencies
    packages = list(given.pip_packages)
    if given.pip_requirements_file is not None:
        path = directory / given.pip_requirements_file
        with explained(EnvironmentBuildError, f"read the requirements file {path}", "Correct it."):
            lines = (line.partition(" #")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
            packages += [line for line in lines if line and not line.startswith("#")]
    if framework and not lists([*given.conda_packages, *packages], framework):
        packages.append(framework)
    packages = with_one_of(packages, _RUN_PACKAGES, f"azureml-core=={version('azureml-core')}")
    return _conda_dependencies(given.conda_packages, packages, None)


def framework_requirement(experiment: ExperimentSettings) -> str:
    """What brings the framework of the settings: ``scikit-learn==1.7.2``, the newest without a version, or ""."""
    name = experiment.framework.name
    package = _FRAMEWORK_PACKAGES.get(name, "")
    wanted = getattr(experiment.framework, name).framework_version
    return f"{package}=={wanted}" if package and wanted else package


def lists(packages: Sequence[str], requirement: str) -> bool:
    """Whether the package of ``requirement`` is among ``packages``, of pip or conda, in whatever version."""
    wanted = _package_name(requirement)
    names = {wanted, _CONDA_NAMES.get(wanted or "")} - {None}
    found = (_NAME.match(package.rpartition("::")[2]) for package in packages)
    return any(match is not None and canonicalize_name(match[0]) in names for match in found)


def packages_to_change(experiment: ExperimentSettings, build_log: str | None) -> str:
    """What to do about an environment that cannot be built: names the option whose package the build's log names."""
    if experiment.use_custom_environment:
        return f"Mend environment '{experiment.environment}' in the workspace."
    if experiment.user_managed:
        return "Correct experiment.interpreter_path, or set experiment.user_managed to false."
    name, framework = experiment.framework.name, framework_requirement(experiment)
    if "==" in framework and framework.partition("==")[0] in (build_log or ""):
        return (
            f"Change experiment.framework.{name}.framework_version: {framework} cannot be installed there, as the end "
            "of the build's log says."
        )
    return "Change the packages in experiment.dependencies as the end of the build's log says."


def find_environment(target: WorkspaceTarget, name: str, wanted: str | None) -> RegisteredEnvironment:
    """An environment as it is registered in the workspace; None for its latest version.

    Raises:
        EnvironmentBuildError: there is none of that name and version.
    """
    from azureml.core import Environment

    with explained(EnvironmentBuildError, f"use environment '{name}'", "Register it, or correct its name or version."):
        found = Environment.get(open_workspace(target), name, wanted)
    return RegisteredEnvironment(name=found.name, version=str(found.version))


def register_scoring_environment(target: WorkspaceTarget, image: ImageSettings) -> RegisteredEnvironment:
    """The environment in which the scoring script runs, with Azure's inference server in it.

    Raises:
        EnvironmentBuildError: Azure refuses the environment, or it is not there.
    """
    if image.use_custom_environment:
        return find_environment(target, image.name, None)
    return _register(target, scoring_environment(image))


def scoring_environment(image: ImageSettings) -> Environment:
    """The environment in which the scoring script runs, as the settings want it; not registered yet."""
    from azureml.core import Environment

    environment = Environment(image.name)
    given = image.dependencies
    pin = f"=={version('azureml-train-core')}" if given.pin_sdk_version else ""
    packages = with_one_of(given.pip_packages, _SERVER_PACKAGES, f"azureml-defaults{pin}")
    environment.python.conda_dependencies = _conda_dependencies(given.conda_packages, packages, given.python_version)
    _container(environment, image.docker.custom_image, image.docker.custom_image_registry_details)
    return environment


def with_one_of(packages: Sequence[str], names: Sequence[str], otherwise: str) -> list[str]:
    """``packages``, with ``otherwise`` added unless one of the packages named ``names`` is there already."""
    found = {_package_name(package) for package in packages}
    return [*packages] if found & set(names) else [*packages, otherwise]


def _package_name(requirement: str) -> str | None:
    try:
        return canonicalize_name(Requirement(requirement).name)
    except InvalidRequirement:
        return None  # an option of pip, such as --extra-index-url


def _conda_dependencies(conda: Sequence[str], pip: Sequence[str], python: str | None) -> CondaDependencies:
    """Exactly what is listed: ``CondaDependencies.create`` adds an azureml package, and refuses options of pip."""
    import yaml
    from azureml.core.conda_dependencies import CondaDependencies

    version = python or f"{sys.version_info.major}.{sys.version_info.minor}"
    dependencies = [f"python={version}", *conda, {"pip": list(pip)}]
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "conda.yml")
        file.write_text(yaml.safe_dump({"channels": ["conda-forge"], "dependencies": dependencies}), encoding="utf-8")
        return CondaDependencies(str(file))


def _container(environment: Environment, image: str | None, registry: RegistrySettings) -> None:
    if image is None:
        return
    environment.docker.base_image = image
    if registry.address is not None:
        environment.docker.base_image_registry.address = registry.address
        environment.docker.base_image_registry.username = registry.username
        password = registry.password
        environment.docker.base_image_registry.password = None if password is None else password.get_secret_value()


def _register(target: WorkspaceTarget, environment: Environment) -> RegisteredEnvironment:
    with explained(
        EnvironmentBuildError, f"register environment '{environment.name}'", "Check its packages in the settings."
    ):
        registered = environment.register(open_workspace(target))
    return RegisteredEnvironment(name=registered.name, version=str(registered.version))


def pip_packages(environment: Environment) -> tuple[str, ...]:
    """Its requirements for pip, and options such as ``--extra-index-url``."""
    return tuple(environment.python.conda_dependencies.pip_packages)


def latest_if_same(target: WorkspaceTarget, environment: Environment) -> RegisteredEnvironment | None:
    """The latest version that is registered under the name of ``environment``, when it says the same."""
    from azureml.core import Environment as Environments

    with explained(EnvironmentBuildError, f"ask for environment '{environment.name}'", "Look at it in the studio."):
        registered = Environments.list(open_workspace(target)).get(environment.name)
    if registered is None or _content(registered) != _content(environment):
        return None
    return RegisteredEnvironment(name=registered.name, version=str(registered.version))


def _content(environment: Environment) -> tuple[object, ...]:
    """What the settings say of an environment; Azure fills in the rest."""
    import yaml

    python, docker = environment.python, environment.docker
    packages = yaml.safe_load(python.conda_dependencies.serialize_to_string())
    return packages, python.user_managed_dependencies, docker.base_image


register_training_environment_task = azure_operation("training environment")(register_training_environment)
register_scoring_environment_task = azure_operation("scoring environment")(register_scoring_environment)
