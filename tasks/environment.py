"""Environments for training and scoring: made from the settings and registered in the workspace.

Registering the same content again gives the same version. Azure: https://learn.microsoft.com/azure/machine-learning/
how-to-use-environments; SDK: ``azureml.core.Environment``.
"""

from __future__ import annotations

import sys
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

    from settings.deployment import ImageSettings
    from settings.experiment import RegistrySettings

# The package that brings each framework; `other` brings none.
_FRAMEWORK_PACKAGES = {"sklearn": "scikit-learn", "pytorch": "torch", "tensorflow": "tensorflow", "chainer": "chainer"}

# Any of these gives a training script `azureml.core.Run`, and a service Azure's inference server.
_RUN_PACKAGES = ("azureml-core", "azureml-defaults", "azureml-sdk")
_SERVER_PACKAGES = ("azureml-defaults", "azureml-inference-server-http")


def register_training_environment(target: WorkspaceTarget, experiment: ExperimentSettings) -> RegisteredEnvironment:
    """The environment in which the training script runs.

    Raises:
        EnvironmentBuildError: a file of packages is not there or does not parse, or Azure refuses the environment.
    """
    return _register(target, training_environment(experiment))


def training_environment(experiment: ExperimentSettings) -> Environment:
    """The environment in which the training script runs, as the settings want it; not registered yet.

    Raises:
        EnvironmentBuildError: a file of packages is not there or does not parse.
    """
    from azureml.core import Environment
    from azureml.core.conda_dependencies import CondaDependencies

    environment = Environment(f"{experiment.name}-training")
    given = experiment.dependencies
    if given.conda_dependencies_file is not None:
        path = _file(experiment.source_directory, given.conda_dependencies_file, "conda_dependencies_file")
        with explained(EnvironmentBuildError, f"read the conda file {path}", "Correct it."):
            dependencies = CondaDependencies(str(path))
    else:
        packages = list(given.pip_packages)
        if given.pip_requirements_file is not None:
            path = _file(experiment.source_directory, given.pip_requirements_file, "pip_requirements_file")
            lines = (line.strip() for line in path.read_text().splitlines())
            packages += [line for line in lines if line and not line.startswith("#")]
        packages = _with_framework(packages, experiment)
        packages = with_one_of(packages, _RUN_PACKAGES, f"azureml-core=={version('azureml-core')}")
        dependencies = _conda_dependencies(given.conda_packages, packages, None)
    environment.python.conda_dependencies = dependencies
    environment.python.user_managed_dependencies = experiment.user_managed
    _container(environment, experiment.docker.custom_image, experiment.docker.custom_image_registry_details)
    return environment


def register_scoring_environment(target: WorkspaceTarget, image: ImageSettings) -> RegisteredEnvironment:
    """The environment in which the scoring script runs, with Azure's inference server in it.

    Raises:
        EnvironmentBuildError: Azure refuses the environment.
    """
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


def _with_framework(packages: Sequence[str], experiment: ExperimentSettings) -> list[str]:
    framework = experiment.framework.name
    package = _FRAMEWORK_PACKAGES.get(framework)
    wanted = getattr(experiment.framework, framework).framework_version
    if package is None:
        return [*packages]
    if wanted is None:
        return with_one_of(packages, (package,), package)
    others = [listed for listed in packages if _package_name(listed) != package]
    return [*others, f"{package}=={wanted}"]


def _conda_dependencies(conda: Sequence[str], pip: Sequence[str], python: str | None) -> object:
    from azureml.core.conda_dependencies import CondaDependencies

    dependencies = CondaDependencies.create(
        conda_packages=list(conda),
        pip_packages=list(pip),
        python_version=python or f"{sys.version_info.major}.{sys.version_info.minor}",
        # The SDK would add its own idea of azureml-defaults.
        pin_sdk_version=False,
    )
    # `create` adds azureml-defaults when no azureml package is listed; what is listed above is all that is wanted.
    listed = {_package_name(package) for package in pip}
    for added in list(dependencies.pip_packages):
        if _package_name(added) not in listed and added not in pip:
            dependencies.remove_pip_package(added)
    return dependencies


def _container(environment: Environment, image: str | None, registry: RegistrySettings) -> None:
    if image is None:
        return
    environment.docker.base_image = image
    if registry.address is not None:
        environment.docker.base_image_registry.address = registry.address
        environment.docker.base_image_registry.username = registry.username
        password = registry.password
        environment.docker.base_image_registry.password = None if password is None else password.get_secret_value()


def _file(directory: str, name: str, option: str) -> Path:
    path = Path(directory) / name
    if not path.is_file():
        raise EnvironmentBuildError(
            f"The file {path} that experiment.dependencies.{option} names is not there.", "Correct the path."
        )
    return path


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
