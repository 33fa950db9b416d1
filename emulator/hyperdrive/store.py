"""What HyperDrive keeps: each tuning with its configuration, and what was drawn for each of its children."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict

from emulator.hyperdrive.submission import TuningConfiguration
from emulator.management.store import Workspace
from emulator.state import Record, State


class Child(BaseModel):
    """One child run: its number, what was drawn for it, and the values that the formulas made of it."""

    model_config = ConfigDict(frozen=True)

    number: int
    run_id: str
    latents: dict[str, Any]
    hyperparameters: dict[str, Any]


class Tuning(BaseModel):
    """One HyperDrive run. What became of it and of its children is in run history.

    Attributes:
        run_id: of the parent.
        snapshot_id: of the source directory that the children share.
        definition: the run configuration that they share.
        created_by: whose children they are.
        created_utc: from when on the duration counts, restarts of the emulator included.
        children: in the order of their numbers.
    """

    model_config = ConfigDict(frozen=True)

    run_id: str
    experiment_id: str
    configuration: TuningConfiguration
    snapshot_id: str
    definition: Record
    created_by: Record
    created_utc: str
    children: tuple[Child, ...] = ()

    @property
    def deadline(self) -> datetime:
        return datetime.fromisoformat(self.created_utc) + timedelta(seconds=self.configuration.seconds)

    def with_child(self, latents: dict[str, Any], hyperparameters: dict[str, Any]) -> Tuning:
        number = len(self.children)
        child = Child(number=number, run_id=f"{self.run_id}_{number}", latents=latents, hyperparameters=hyperparameters)
        return self.model_copy(update={"children": (*self.children, child)})


class TuningStore:
    def __init__(self, state: State) -> None:
        self._tunings = state.collection("tunings")

    def find(self, workspace: Workspace, run_id: str) -> Tuning | None:
        record = self._tunings.get(workspace.id, run_id)
        return None if record is None else Tuning.model_validate(record)

    def all(self, workspace: Workspace) -> list[Tuning]:
        return [Tuning.model_validate(record) for record in self._tunings.all(workspace.id)]

    def put(self, workspace: Workspace, tuning: Tuning) -> Tuning:
        self._tunings.put(workspace.id, tuning.run_id, tuning.model_dump(mode="json"))
        return tuning
