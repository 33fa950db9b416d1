"""Carries out tunings, each in a task of its own: draws, submits children, ends those that do badly, knows the best."""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from emulator.errors import ServiceError
from emulator.history.store import Run, error_response
from emulator.hyperdrive.payloads import BEST_CHILD, best_child_metric, child_tag
from emulator.hyperdrive.policies import best, why_to_end
from emulator.hyperdrive.sampling import Trial, draw
from emulator.hyperdrive.store import Child, Tuning, TuningStore
from emulator.hyperdrive.submission import child_definition
from emulator.management.store import Workspace
from emulator.state import utc_now

if TYPE_CHECKING:
    from emulator.server import Emulator

log = logging.getLogger("emulator.hyperdrive")

_LOG = "azureml-logs/hyperdrive.txt"  # what HyperDriveRun.wait_for_completion(show_output=True) prints
_FAILURES_AT_THE_START = 3  # so many children that all fail end the tuning


class TuningSupervisor:
    """Knows every tuning that goes on."""

    def __init__(self, emulator: Emulator, store: TuningStore) -> None:
        self._emulator = emulator
        self._store = store
        self._tasks: dict[tuple[str, str], asyncio.Task[None]] = {}

    def launch(self, workspace: Workspace, tuning: Tuning) -> None:
        """Begin, or go on, to carry a tuning out; what becomes of it is written into history."""
        key = (workspace.id, tuning.run_id)
        self._tasks[key] = asyncio.create_task(self._carry_out(workspace, tuning))
        self._tasks[key].add_done_callback(lambda _: self._tasks.pop(key))

    async def stop(self) -> None:
        """Leave all tunings as they are: :meth:`HyperDriveService.start` takes them up again."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _carry_out(self, workspace: Workspace, tuning: Tuning) -> None:
        course = _Course(self._emulator, self._store, workspace, tuning)
        try:
            await asyncio.to_thread(importlib.import_module, "optuna")  # takes a moment, which others need not wait for
            while not course.advance():
                await course.change()
        except Exception as error:  # a tuning must end, whatever happens
            log.exception("tuning %s", tuning.run_id)
            message = f"The emulator failed: {error}. `python -m emulator logs` says why."
            failure = error_response("SystemError", message, workspace)
            self._emulator.history.store.transition(workspace, tuning.run_id, "Failed", failure)


@dataclass(frozen=True)
class _ChildRun:
    """A child as history and metrics show it.

    Attributes:
        run: its run.
        logged: the numbers that it has logged for the primary metric.
    """

    run: Run
    logged: list[float]

    @property
    def goes_on(self) -> bool:
        return not self.run.is_terminal


class _Course:
    """One tuning that goes on: what is due is done by :meth:`advance`, as often as something has changed."""

    def __init__(self, emulator: Emulator, store: TuningStore, workspace: Workspace, tuning: Tuning) -> None:
        self._emulator = emulator
        self._store = store
        self._workspace = workspace
        self._tuning = tuning
        self._history = emulator.history.store
        self._metrics = emulator.metrics.store
        self._space = tuning.configuration.space(tuning.run_id)
        self._exhausted = False
        self._ended: dict[str, _ChildRun] = {}  # what will not change any more is read once
        self._evaluated: dict[str, int] = {}  # how many values of a child the policy has looked at
        self._ending: tuple[str, str] | None = None  # the parent's last status and why, once it ends early

    def advance(self) -> bool:
        """Do all that is due now; says whether the tuning has ended."""
        children = self._children()
        self._note_best(children, final=False)
        self._ending = self._ending or self._reason_to_end(children)
        if self._ending is None:
            self._apply_policy(children)
            try:
                self._submit_children(children)
            except ServiceError as error:
                self._ending = ("Failed", f"A child could not be submitted: {error.message.rstrip('.')}")
        children = self._children()
        going_on = [run_id for run_id, child in children.items() if child.goes_on]
        if self._ending is not None:
            for run_id in going_on:
                self._emulator.execution.cancel(self._workspace, run_id)
        if going_on or not (self._exhausted or self._ending):
            return False
        self._note_best(children, final=True)
        self._end(children)
        return True

    async def change(self) -> None:
        """Wait until others have changed what :meth:`advance` looks at, or the time is up."""
        seen = self._outside()
        left = (self._tuning.deadline - datetime.now(timezone.utc)).total_seconds()
        # Past the deadline, the children that are being cancelled are waited for.
        await self._emulator.state.wait_for(lambda: self._outside() != seen, left if left > 0 else 60)

    def _outside(self) -> object:
        ids = [child.run_id for child in self._tuning.children if child.run_id not in self._ended]
        runs = [self._history.run(self._workspace, run_id) for run_id in (self._tuning.run_id, *ids)]
        return [(run.run_id, run.status, self._metrics.batches(self._workspace, run.run_id)) for run in runs]

    def _children(self) -> dict[str, _ChildRun]:
        """The children that were submitted, by id, in the order of their numbers."""
        found: dict[str, _ChildRun] = {}
        for child in self._tuning.children:
            run = None if child.run_id in self._ended else self._history.find_run(self._workspace, child.run_id)
            if run is not None:
                found[child.run_id] = _ChildRun(run, list(self._logged(child)))
                if run.is_terminal:
                    self._ended[child.run_id] = found[child.run_id]
            elif child.run_id in self._ended:
                found[child.run_id] = self._ended[child.run_id]
        return found

    def _logged(self, child: Child) -> Iterator[float]:
        name = self._tuning.configuration.primary_metric_config.name
        metric = self._metrics.metrics(self._workspace, child.run_id).get(name)
        for value in metric.values if metric is not None else ():
            number = value["data"].get(name)
            if isinstance(number, (int, float)) and not isinstance(number, bool):
                yield float(number)

    def _reason_to_end(self, children: dict[str, _ChildRun]) -> tuple[str, str] | None:
        if self._history.run(self._workspace, self._tuning.run_id).status == "CancelRequested":
            return "Canceled", "The tuning was cancelled"
        if datetime.now(timezone.utc) >= self._tuning.deadline:
            minutes = self._tuning.configuration.max_duration_minutes
            return "Canceled", f"The tuning took longer than its max_duration_minutes of {minutes:g}"
        first = [child.run for child in children.values()][:_FAILURES_AT_THE_START]
        if len(first) == _FAILURES_AT_THE_START and all(run.status == "Failed" for run in first):
            return "Failed", f"The first {_FAILURES_AT_THE_START} children have failed{_because(first[0])}"
        return None

    def _apply_policy(self, children: dict[str, _ChildRun]) -> None:
        """End the children that the policy does not let go on; each of their values is looked at once."""
        configuration = self._tuning.configuration
        logged = {run_id: child.logged for run_id, child in children.items()}
        for run_id, child in children.items():
            looked_at, self._evaluated[run_id] = self._evaluated.get(run_id, 0), len(child.logged)
            if not child.goes_on or child.run.status in ("CancelRequested", "Finalizing"):
                continue  # in the latter, the script has ended: there is nothing left to save
            verdicts = (
                why_to_end(configuration.policy, configuration.goal, run_id, interval, logged)
                for interval in range(looked_at + 1, len(child.logged) + 1)
            )
            reason = next((verdict for verdict in verdicts if verdict is not None), None)
            if reason is not None:
                message = f"Canceled by the {configuration.policy_config['name']} policy: {reason}."
                self._history.warn(self._workspace, run_id, "hyperdrive", message)
                self._say("CONTROLLER", f"{run_id}: {message}")
                self._emulator.execution.cancel(self._workspace, run_id)

    def _submit_children(self, children: dict[str, _ChildRun]) -> None:
        """As many as may go on at the same time; first a child that was drawn just before the emulator ended."""
        configuration = self._tuning.configuration
        going_on = sum(child.goes_on for child in children.values())
        lost = [child for child in self._tuning.children if child.run_id not in children]
        while going_on < configuration.max_concurrent_jobs:
            child = lost.pop(0) if lost else self._draw(children)
            if child is None:
                self._exhausted = True
                return
            self._submit(child)
            going_on += 1

    def _draw(self, children: dict[str, _ChildRun]) -> Child | None:
        """The next child; ``None`` when there are as many as there may be."""
        configuration = self._tuning.configuration
        if len(self._tuning.children) == configuration.max_total_jobs:
            return None
        trials = []
        for child in self._tuning.children:
            known = children.get(child.run_id)  # one that was submitted a moment ago is not among them
            metric = best(known.logged, configuration.goal) if known is not None else None
            trials.append(Trial(child.latents, known is not None and not known.goes_on, metric))
        latents = draw(self._space, configuration.goal, trials)
        if latents is None:
            return None
        self._tuning = self._store.put(self._workspace, self._tuning.with_child(latents, self._space.values(latents)))
        return self._tuning.children[-1]

    def _submit(self, child: Child) -> None:
        tag = child_tag(child)
        parent = self._history.run(self._workspace, self._tuning.run_id)
        self._history.put_run(self._workspace, parent.model_copy(update={"tags": {**parent.tags, **tag}}))
        run = self._emulator.execution.submit(
            self._workspace,
            self._history.experiment_by_id(self._workspace, self._tuning.experiment_id),
            child.run_id,
            child_definition(self._tuning.definition, child.hyperparameters),
            created_by=self._tuning.created_by,
            snapshot_id=self._tuning.snapshot_id,
            parent_run_id=self._tuning.run_id,
        )
        (hyperparameters,) = tag.values()
        self._history.put_run(
            self._workspace, run.model_copy(update={"tags": {**run.tags, "hyperparameters": hyperparameters}})
        )
        self._say("SCHEDULER", f"Scheduled {child.run_id}: {hyperparameters}")

    def _note_best(self, children: dict[str, _ChildRun], *, final: bool) -> None:
        """Add a row to the parent's table of the best child when there is a new one, and a last row at the end."""
        goal = self._tuning.configuration.goal
        bests = {run_id: value for run_id, child in children.items() if (value := best(child.logged, goal)) is not None}
        if not bests:
            return
        value = best(list(bests.values()), goal)
        run_id = next(run_id for run_id in bests if bests[run_id] == value)
        table = self._metrics.metrics(self._workspace, self._tuning.run_id).get(BEST_CHILD)
        last = table.values[-1]["data"] if table is not None else {}
        if final or (run_id, bests[run_id]) != (last.get("run_id"), last.get("metric_value")):
            row = best_child_metric(self._tuning, run_id, bests[run_id], final=final)
            self._metrics.add(self._workspace, self._tuning.run_id, [row])

    def _end(self, children: dict[str, _ChildRun]) -> None:
        runs = [child.run for child in children.values()]
        if self._ending is not None:
            status, reason = self._ending
        elif all(run.status == "Failed" for run in runs):
            status, reason = "Failed", f"All {len(runs)} children have failed{_because(runs[0])}"
        else:
            status, reason = "Completed", f"{len(runs)} children have ended"
        self._say("CONTROLLER", f"{reason}. The tuning ends as {status}.")
        if status == "Canceled":
            self._history.warn(self._workspace, self._tuning.run_id, "hyperdrive", f"{reason}.")
        error = error_response("UserError", f"{reason}.", self._workspace) if status == "Failed" else None
        self._history.transition(self._workspace, self._tuning.run_id, status, error)

    def _say(self, part: str, message: str) -> None:
        """Add a line to the tuning's log, in the form that Azure gives it."""
        container = self._history.run(self._workspace, self._tuning.run_id).data_container_id
        file = self._emulator.artifacts.path(self._workspace, "ExperimentRun", container, _LOG)
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a", encoding="utf-8") as lines:
            lines.write(f"<START>[{utc_now()}][{part}][INFO]{message}<END>\n")


def _because(run: Run) -> str:
    message = ((run.error or {}).get("error") or {}).get("message")
    return f"; the first one: {str(message).rstrip('.')}" if message else ""
