"""What a user submits: the run configuration, and which of it is executed here."""

from __future__ import annotations

import shlex
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from emulator.errors import bad_request, not_emulated
from emulator.state import Record


class RunConfiguration(BaseModel):
    """``azureml.core.RunConfiguration`` as far as it is executed. ``max_run_duration_seconds``: ``None`` is endless."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True, extra="ignore")

    script: str | None = None
    command: str | None = None
    arguments: tuple[str, ...] = ()
    target: str
    framework: str = "Python"
    communicator: str = "None"
    node_count: int = 1
    max_run_duration_seconds: float | None = None
    environment: Record
    environment_variables: dict[str, str] = {}
    data_references: Record = {}
    data: Record = {}
    output_data: Record = {}

    @property
    def title(self) -> str:
        """What runs, for messages."""
        return f"Script '{self.script}'" if self.script else "The command"

    @property
    def shell_command(self) -> str | None:
        """The command line of a configuration that has a command instead of a script."""
        if self.script or not self.command:
            return None
        return " ".join([self.command, *map(shlex.quote, self.arguments)])


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
    if configuration.framework.lower() != "python":
        raise not_emulated(f"framework {configuration.framework} of a run")
    if configuration.communicator.lower() != "none":
        raise not_emulated(f"communicator {configuration.communicator} of a run")
    if configuration.node_count != 1:
        raise not_emulated(f"a run on {configuration.node_count} nodes")
    for name in ("data", "data_references", "output_data"):
        if getattr(configuration, name):
            raise not_emulated(f"{to_camel(name)} of a run (data sets as its inputs or outputs)")
    if not configuration.script and not configuration.command:
        raise bad_request("The run configuration has neither a script nor a command.")
    return configuration
