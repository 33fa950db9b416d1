"""The road of one run: its settings and workspace, the steps it has taken, and the report of how it ended."""

from __future__ import annotations

import bdb
import os
import shlex
import sys
import time
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any

from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows.artifacts import publish
from flows.console import Console
from flows.options import RollbackOptions, RunOptions
from flows.report import explanations, headline, plots, write_report
from flows.scope import load_settings, without_effect
from flows.steps import Steps
from flows.studio import studio_query
from flows.terminal import terminal
from settings import Settings
from settings.loading import SETTINGS_FILE
from settings.workspace import resolve_workspace
from tasks.errors import MlopsError
from tasks.values import (
    Approval,
    CanaryStep,
    Comparison,
    DataReport,
    Endpoint,
    ModelProfile,
    Origin,
    Outcome,
    ReadyCompute,
    RegisteredModel,
    ReportedComparison,
    ReportedError,
    ReportedModel,
    ReportedProfile,
    ReportedRun,
    ReportedWorkspace,
    RunReport,
    StageReport,
    TrainedRun,
    Tuning,
)

REPORTS = Path("reports")

# Overrides that change which service is production's.
_WHERE_PRODUCTION_IS = ("workspace.", "deployment.prod_deployment.name=")


class Road:
    """Collects what a run does, and writes the report when it ends, however it ends.

    Args:
        flow_run_id: the flow run in Prefect.
        prefect_url: the same in Prefect's UI.

    Raises:
        SettingsError: the settings are wrong.
    """

    def __init__(self, options: RunOptions | RollbackOptions, flow_run_id: str, prefect_url: str | None) -> None:
        self.settings: Settings = load_settings(options.settings_file, options.overrides)
        self.target = resolve_workspace(self.settings.workspace, os.environ)
        self.tuning: Tuning | None = None
        self.data: DataReport | None = None
        self.trained: TrainedRun | None = None
        self.comparison: Comparison | None = None
        self.model: RegisteredModel | None = None
        self.profile: ModelProfile | None = None
        self.gate_plots: dict[str, bytes] | None = None
        self.canary: list[CanaryStep] = []
        self.approval: Approval | None = None
        self.warnings: list[str] = []
        self.production: Endpoint | None = None
        self.outcome: Outcome = "Failed"
        self.report: RunReport | None = None
        self._options = options
        self._flow_run_id = flow_run_id
        self._prefect_url = prefect_url
        self._stages: list[StageReport] = []
        self._failure: MlopsError | None = None
        self._started, self._clock = datetime.now(timezone.utc), time.monotonic()
        self.console = Console(options.verbose, terminal())
        self.steps = Steps(self.console, self.settings.waiting.retries, options.debug)

    def __enter__(self) -> Road:
        self.console.__enter__()
        for sentence in without_effect(self.settings):
            self.console.say(f"note: {sentence}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.steps.wait()
        self.console.__exit__(kind, error, traceback)
        if error is not None:
            self.outcome = "Failed"
            self._failure = explanation(error)
        self.report = self._make_report()
        try:
            images = plots(self.report, self.gate_plots)
            write_report(self.report, REPORTS, images)
        except OSError as problem:
            raise MlopsError(
                f"The report cannot be written to {REPORTS.resolve()} ({problem.strerror}).",
                "Make the directory writable.",
            ) from problem
        self.console.summary(self.report, REPORTS / "latest" / "report.md")
        publish(self.report, images)
        self._tell()

    @property
    def origin(self) -> Origin:
        """For whom this run makes what it makes."""
        fingerprint = self.data.fingerprint if self.data else None
        fresh = isinstance(self._options, RunOptions) and self._options.fresh
        return Origin(flow_run_id=self._flow_run_id, fresh=fresh, data_fingerprint=fingerprint)

    def passed(self, stage: StageReport) -> None:
        """Note a stage that was deployed and tested, well or not."""
        self._stages.append(stage)

    def warn(self, sentence: str) -> None:
        """Say, and keep for the report, what goes on in spite of a fault, and how."""
        self.warnings.append(sentence)
        self.console.say(f"warning: {sentence}")

    def ready(self, cluster: ReadyCompute) -> ReadyCompute:
        """A cluster to serve on; what of it is not as the settings want it is a warning."""
        for sentence in cluster.differs:
            self.warn(f"ClusterDiffers: {sentence}.")
        return cluster

    def rolled_back(self, failure: MlopsError) -> None:
        """Note that production has its former model back, because of ``failure``."""
        self.outcome, self._failure = "RolledBack", failure

    def _tell(self) -> None:
        """Tell the team, where the settings want that."""
        wanted = self.settings.notifications
        if self.report is None or wanted.block is None or self.report.outcome not in wanted.on:
            return
        from flows.notifications import message_of, send

        problem = send(message_of(self.report), wanted.block)
        if problem is not None:
            self.console.say(f"note: {problem}")

    def _make_report(self) -> RunReport:
        failure = self._failure
        production = self.production
        return RunReport(
            outcome=self.outcome,
            started=self._started,
            settings=str(self._options.settings_file or SETTINGS_FILE.relative_to(SETTINGS_FILE.parent.parent)),
            workspace=ReportedWorkspace(
                name=self.target.name, cloud=self.target.cloud, studio=studio_query(self.target)
            ),
            tuning=self.tuning,
            data=self.data,
            run=ReportedRun.of(self.trained) if self.trained else None,
            comparison=ReportedComparison.of(self.comparison) if self.comparison else None,
            model=ReportedModel.of(self.model) if self.model else None,
            profile=ReportedProfile.of(self.profile) if self.profile else None,
            stages=tuple(self._stages),
            canary=tuple(self.canary),
            approval=self.approval,
            warnings=tuple(self.warnings),
            timings={step: round(seconds, 3) for step, seconds in self.console.timings.items()},
            total_seconds=round(time.monotonic() - self._clock, 3),
            error=failure
            and ReportedError(message=failure.message, next_step=failure.next_step, log_tail=failure.log_tail),
            prefect_url=self._prefect_url,
            production_url=production.scoring_uri if production else None,
            curl=self._curl(production) if production else None,
        )

    def _curl(self, production: Endpoint) -> str:
        """A line to paste into a shell in the repository. The key is read when it runs, and stands nowhere."""
        tests = self.settings.deployment.endpoint_tests
        sample = Path(tests.source_directory, tests.sample)
        parts = ["curl", "-sS", "-H", "'Content-Type: application/json'"]
        if production.auth_enabled:
            python = Path(sys.executable)
            if python.is_relative_to(Path.cwd()):
                python = python.relative_to(Path.cwd())
            key = [str(python), "-m", "flows.service_key", "prod"]
            if self._options.settings_file is not None:
                key += ["--settings", str(self._options.settings_file)]
            for override in self._options.overrides:
                if override.startswith(_WHERE_PRODUCTION_IS):
                    key += ["--set", override]
            parts += ["-H", f'"Authorization: Bearer $({shlex.join(key)})"']
        return " ".join([*parts, "--data", shlex.quote(f"@{sample}"), shlex.quote(production.scoring_uri)])


def end_state(road: Road) -> State[dict[str, Any]]:
    """The flow's state: completed for a decision, whichever it is; failed when production had to be restored."""
    if road.report is None:
        raise RuntimeError("the road was not left yet: its report is made then")
    message, data = headline(road.report), road.report.model_dump(mode="json")
    if road.outcome == "RolledBack":
        return Failed(name="RolledBack", message=message, data=data)
    reasons = "; ".join(explanations(road.report))
    return Completed(name=road.outcome, message=f"{message} {reasons}".strip(), data=data)


def explanation(error: BaseException) -> MlopsError:
    """The error as one of ours; one that nobody foresaw keeps its own words."""
    if isinstance(error, MlopsError):
        return error
    # Ctrl-C, or Prefect was told to end the run, or `quit` in a debugger
    if not isinstance(error, Exception) or isinstance(error, bdb.BdbQuit):
        return MlopsError("The run was interrupted.", "Start it again; it takes up what it finds.")
    if isinstance(error, TimeoutError):
        return MlopsError(
            f"A step did not end within its limit: {error}.", "Start the run again; look at Azure's status."
        )
    words: Any = " ".join(str(error).split()) or type(error).__name__
    return MlopsError(
        f"{type(error).__name__}: {words}",
        "This is a mistake in the flow itself: run it again with --verbose for the traceback.",
    )
