"""What may be asked of one run: the parameters of the flow, as Prefect's forms show and check them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, WithJsonSchema
from pydantic.json_schema import SkipJsonSchema


def _without_default(schema: dict[str, Any]) -> None:
    schema.pop("default", None)


Override = Annotated[str, StringConstraints(pattern=r"^[^=.]+(\.[^=.]+)*=")]


class RollbackOptions(BaseModel):
    """Options of a rollback by hand."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    to: int | None = Field(
        None,
        ge=1,
        title="To version",
        description="Version of the model; empty for the one that was released before the present one.",
        examples=[3],
    )
    settings_file: Path | None = Field(
        None,
        title="Settings file",
        description="Path in the repository; empty for settings/settings.json.",
        examples=["settings/settings.json"],
    )
    overrides: tuple[Override, ...] = Field(
        (),
        title="Overrides",
        description="Settings for this run only, each as dotted.key=value.",
        examples=[["deployment.prod_deployment.name=other"]],
    )
    verbose: bool = Field(False, title="Verbose", description="Show every detail.", examples=[False])
    debug: bool = Field(False, title="Debug", description="One step at a time, tried once.", examples=[False])


class RunOptions(BaseModel):
    """Options of one run; what a model is and where it goes stands in the settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # Prefect's form shows `... | None` as a switch between two types. In the form, what is left empty is left out.
    settings_file: Annotated[Path | None, WithJsonSchema({"type": "string"})] = Field(
        None,
        title="Settings file",
        description="Path in the repository; empty for settings/settings.json.",
        examples=["settings/settings.json"],
        json_schema_extra=_without_default,
    )
    overrides: tuple[Override, ...] = Field(
        (),
        title="Overrides",
        description="Settings for this run only, each as dotted.key=value.",
        examples=[["experiment.script_parameters.--alpha=0.2"]],
    )
    fresh: bool = Field(
        False,
        title="Fresh",
        description="Train and profile anew, even where the same was done before on the same inputs.",
        examples=[False],
    )
    stop_before: Literal["nothing", "registration"] = Field(
        "nothing",
        title="Stop before",
        description="registration: compare only, and end before the model is registered, whatever the comparison says.",
        examples=["registration"],
    )
    verbose: bool = Field(False, title="Verbose", description="Show every detail.", examples=[False])
    # Not for the form: a worker has no terminal.
    debug: SkipJsonSchema[bool] = Field(
        False, description="One step after the other, tried once, without time limits, so that a debugger can stop."
    )
