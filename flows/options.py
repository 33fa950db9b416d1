"""What may be asked of one run: the parameters of the flow, as Prefect's forms show and check them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Override = Annotated[str, StringConstraints(pattern=r"^[^=.]+(\.[^=.]+)*=")]


class RunOptions(BaseModel):
    """Options of one run; what a model is and where it goes stands in the settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

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
        examples=[["experiment.script_parameters.--alpha=0.2"]],
    )
    stop_before: Literal["registration"] | None = Field(
        None,
        title="Stop before",
        description="Compare only: end before the model is registered, whatever the comparison says.",
        examples=["registration"],
    )
    verbose: bool = Field(False, title="Verbose", description="Show every detail.", examples=[False])
    debug: bool = Field(
        False,
        title="Debug",
        description="From a terminal: one step after the other, tried once, without time limits, so that breakpoints "
        "can be stopped at.",
        examples=[False],
    )
