"""What the tests of services and profiles deploy: a model that is a number, and entry scripts around it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from tests.conftest import RunningEmulator

if TYPE_CHECKING:
    from azureml.core import Environment, Model, Workspace
    from azureml.core.model import InferenceConfig

SCORE = """
import json
import os
import time
from pathlib import Path

from inference_schema.parameter_types.standard_py_parameter_type import StandardPythonParameterType
from inference_schema.schema_decorators import input_schema, output_schema


def init():
    global factor
    factor = json.loads(Path(os.environ["AZUREML_MODEL_DIR"], "model.json").read_text())["factor"]
    print("factor is", factor)


@input_schema("data", StandardPythonParameterType([1.0]))
@output_schema(StandardPythonParameterType([1.0]))
def run(data):
    time.sleep(max(data) / 1000)
    return [factor * value for value in data]
"""
FAILING = """
def init():
    raise ValueError("the weights are missing")


def run(data):
    return data
"""


def register_model(workspace: Workspace, name: str, factor: int) -> Model:
    """Register a model in the current directory, which is where ``Model.register`` takes it from."""
    from azureml.core import Model

    Path("model.json").write_text(json.dumps({"factor": factor}))
    return Model.register(workspace, "model.json", name)


def scoring_environment(*packages: str) -> Environment:
    from azureml.core import Environment
    from azureml.core.conda_dependencies import CondaDependencies

    environment = Environment("scoring")
    environment.python.conda_dependencies = CondaDependencies.create(pip_packages=list(packages), pin_sdk_version=False)
    environment.python.conda_dependencies.set_python_version("3.11")
    return environment


def inference_config(script: str, *packages: str) -> InferenceConfig:
    """A source directory ``code`` in the current directory with ``script`` in it, and an environment for it."""
    from azureml.core.model import InferenceConfig

    Path("code").mkdir(exist_ok=True)
    Path("code", "score.py").write_text(script)
    environment = scoring_environment(*(packages or ("azureml-inference-server-http",)))
    return InferenceConfig("score.py", source_directory="code", environment=environment)


def replicas_of(emulator: RunningEmulator, service: str) -> set[int]:
    """The process ids of the gunicorns that serve it."""
    containers = emulator.state_directory.resolve() / "services"
    found = set()
    for process in psutil.process_iter():
        try:
            directory, leads = Path(process.cwd()), process.pid == os.getpgid(process.pid)
        except (psutil.Error, OSError):
            continue
        if leads and directory.is_relative_to(containers) and service in directory.parts:
            found.add(process.pid)
    return found


def eventually(holds: Callable[[], bool], what: str, seconds: float = 60) -> None:
    """Wait until something holds that the emulator does by itself."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds:g} seconds: {what}"
        time.sleep(0.1)
