"""What a user submits: the run configuration, and which of it is executed here."""

from __future__ import annotations

import shlex
from pathlib import PurePosixPath
from typing import Any

from pydantic import Field, PositiveInt, ValidationError

from emulator.errors import bad_request, not_emulated
from emulator.execution.distribution import Distribution
from emulator.execution.run_data import DataInput, DataReference, OutputData
from emulator.execution.section import Section
from emulator.state import Record

_FRAMEWORKS = frozenset({"python", "pytorch", "tensorflow", "chainer"})
_MPI = frozenset({"mpi", "intelmpi", "openmpi"})
_TORCH_BACKENDS = frozenset({"gloo", "nccl"})


class MpiSection(Section):
    """``azureml.core.runconfig.MpiConfiguration``."""

    process_count_per_node: PositiveInt = 1


class TensorflowSection(Section):
    """``azureml.core.runconfig.TensorflowConfiguration``."""

    worker_count: PositiveInt = 1
    parameter_server_count: int = 0


class PyTorchSection(Section):
    """``azureml.core.runconfig.PyTorchConfiguration``. ``process_count`` of ``None`` is one process on each node."""

    process_count: PositiveInt | None = None


class HistorySection(Section):
    """``azureml.core.runconfig.HistoryConfiguration``."""

    output_collection: bool = True
    directories_to_watch: tuple[str, ...] = ()


class RunConfiguration(Section):
    """``azureml.core.RunConfiguration`` as far as it is executed. ``max_run_duration_seconds``: ``None`` is endless.

    All sections are always sent: framework and communicator say which one counts.
    """

    script: str | None = None
    command: str | None = None
    arguments: tuple[str, ...] = ()
    target: str
    framework: str = "Python"
    communicator: str = "None"
    node_count: PositiveInt = 1
    mpi: MpiSection = MpiSection()
    tensorflow: TensorflowSection = TensorflowSection()
    pytorch: PyTorchSection = PyTorchSection()
    history: HistorySection = HistorySection()
    max_run_duration_seconds: float | None = None
    environment: Record
    environment_variables: dict[str, str] = Field(default_factory=dict)
    data_references: dict[str, DataReference] = Field(default_factory=dict)
    data: dict[str, DataInput] = Field(default_factory=dict)
    output_data: dict[str, OutputData] = Field(default_factory=dict)

    @property
    def title(self) -> str:
        """What runs, for messages."""
        return f"Script '{self.script}'" if self.script else "The command"

    @property
    def collected(self) -> tuple[str, ...]:
        """The directories whose files become the run's, relative to its working directory."""
        watched = ("logs", *self.history.directories_to_watch)
        return tuple(dict.fromkeys(("outputs", *watched) if self.history.output_collection else watched))

    @property
    def shell_command(self) -> str | None:
        """The command line of a configuration that has a command instead of a script."""
        if self.script or not self.command:
            return None
        return " ".join([self.command, *map(shlex.quote, self.arguments)])

    @property
    def distribution(self) -> Distribution:
        """
        Raises:
            ServiceError: 400 for numbers that cannot be; 501 for what the emulator does not start, named.
        """
        framework, communicator = self.framework.lower(), self.communicator.lower()
        if framework not in _FRAMEWORKS:
            raise not_emulated(f"framework {self.framework} of a run")
        if communicator == "none":
            if self.node_count != 1:
                raise bad_request(
                    f"node_count is {self.node_count} and the run has no distributed configuration: give it one, such "
                    "as MpiConfiguration, or take one node."
                )
            return Distribution()
        if communicator in _MPI:
            return Distribution("mpi", self.node_count, self.node_count * self.mpi.process_count_per_node)
        if communicator == "parameterserver" and framework == "tensorflow":
            workers = self.tensorflow.worker_count
            nodes = min(self.node_count, workers)
            return Distribution("parameter_server", nodes, workers, self.tensorflow.parameter_server_count)
        if communicator in _TORCH_BACKENDS and framework == "pytorch":
            processes = self.pytorch.process_count or self.node_count
            if processes % self.node_count:
                raise bad_request(
                    f"process_count {processes} cannot be shared by {self.node_count} nodes: it is the number of all "
                    "processes, a multiple of node_count."
                )
            return Distribution("torch", self.node_count, processes, needs_gpu=communicator == "nccl")
        raise not_emulated(f"framework {self.framework} of a run with communicator {self.communicator}")


def parse_configuration(record: Record) -> RunConfiguration:
    """The ``Configuration`` of a submission.

    Raises:
        ServiceError: 400 when it is not one; 501 for what the emulator does not execute, named.
    """
    given: dict[str, Any] = {key: value for key, value in record.items() if value is not None}
    given["arguments"] = [str(argument) for argument in given.get("arguments") or ()]
    if isinstance(given.get("command"), list):
        given["command"] = " ".join(map(str, given["command"]))
    try:
        configuration = RunConfiguration.model_validate(given)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise bad_request(f"The run configuration cannot be read: {problems}.") from error
    if not configuration.script and not configuration.command:
        raise bad_request("The run configuration has neither a script nor a command.")
    configuration.distribution  # noqa: B018 - refuses what cannot be
    for directory in map(PurePosixPath, configuration.collected):
        if directory.is_absolute() or ".." in directory.parts:
            raise bad_request(f"directories_to_watch has '{directory}', which is not in the run's working directory.")
    return configuration
