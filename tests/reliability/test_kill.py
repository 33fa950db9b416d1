"""A flow that is killed with SIGKILL, wherever it is, and started again ends as one that nobody has disturbed.

A step's `started` line comes right after the `✓` line of the step before it: killed there, a flow has ended the one and
not begun the other. The other lines are those of the waits, in the midst of which it is killed as well. Each release
is killed at one of these lines after the other, and then left alone. The tests build on one another.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace

import pytest
import requests

from tests.conftest import RunningEmulator
from tests.flow.conftest import Checkout, FinishedRun, checkout, prefect_server  # noqa: F401 - fixtures
from tests.flow.test_promotion import SAMPLE, SteadyCaller, production_key
from tests.reliability.running_flow import Contents, RunningFlow, contents, slow_down_training, training_takes

pytestmark = [pytest.mark.reliability, pytest.mark.timeout(900)]

SERVICE = "diabetes-prod"
NOTHING = Contents({}, {}, {}, {})

FIRST_RELEASE = (
    "… workspace started",
    "… training environment started",
    "… training Preparing",
    "… deploy to dev waiting until healthy",
    "… deploy to prod waiting until healthy",
)
LEARNING = (
    "… workspace started",
    "… data started",
    "… training compute started",
    "… submit training started",
    "… training started",
    "… training Running",
    "… turn to release started",
    "… settle production started",
    "… evaluation started",
)
TRYING_OUT = (
    "… test cluster started",
    "… registration started",
    "… profile started",
    "… profile measuring",
    "… deploy to dev started",
    "… deploy to dev waiting until healthy",
    "… test dev started",
    "… remove dev started",
    "… deploy to test waiting until healthy",
    "… test test started",
    "… remove test started",
    "… find prod started",
    "… deploy to prod started",
)
RELEASES = [
    TRYING_OUT,
    ("… deploy to prod updating",),
    ("… deploy to prod waiting until healthy",),
    ("✓ deploy to prod",),
    ("… test prod started", "… test prod started"),
    ("… mark as production started",),
]
CANARY_RELEASES = [
    ("… deploy to prod creating",),
    ("… deploy to prod waiting until healthy",),
    ("… test prod started", "… canary 10 % started"),
    ("… canary 50 % 50 percent",),
    ("… canary 100 % 100 percent",),
    ("… all traffic started",),
    ("… all traffic removing", "… mark as production started"),
]


@dataclass
class Production:
    """Production of a checkout, with callers from its first release on."""

    checkout: Checkout
    emulator: RunningEmulator
    strategy: str
    callers: ExitStack
    alpha: float = 0.51
    caller: SteadyCaller | None = field(default=None)

    def contents(self) -> Contents:
        return contents(self.checkout, self.emulator)

    def release(
        self, killed_at: Sequence[str], *, training_seconds: int = 0, wait_for_lease: bool = False
    ) -> FinishedRun:
        """Train a model that is a little better than the last one, in a flow that is killed so often, and not again."""
        self.alpha = round(self.alpha - 0.01, 2)
        for line in killed_at:
            self.kill(line, self.alpha, training_seconds)
            if not wait_for_lease:
                self.end_lease()
        run = self.start(self.alpha, training_seconds).finish()
        if self.caller is None:
            body = (self.checkout.directory / SAMPLE).read_bytes()
            self.caller = SteadyCaller(run.report["production_url"], production_key(self.checkout), body)
            self.callers.enter_context(self.caller)
        return run

    def kill(self, line: str, alpha: float, training_seconds: int = 0) -> None:
        """Start a flow, and kill it when it shows a line."""
        flow = self.start(alpha, training_seconds)
        flow.wait_for(line)
        flow.kill()

    def start(self, alpha: float, training_seconds: int = 0) -> RunningFlow:
        # Speed is what other tests are about: callers, flow and both models share this machine.
        prod = {"strategy": self.strategy, "canary.unnoticed_ms": 5000, "canary.requests_per_step": 50}
        return RunningFlow(
            self.checkout,
            f"experiment.script_parameters.--alpha={alpha}",
            training_takes(training_seconds),
            *(f"deployment.prod_deployment.{name}={value}" for name, value in prod.items()),
        )

    def end_lease(self) -> None:
        """What else the Prefect server does a minute after it has last heard of a flow that holds a limit."""
        limits = f"{self.checkout.environment['PREFECT_API_URL']}/v2/concurrency_limits"
        for limit in requests.post(f"{limits}/filter", json={}, timeout=30).json():
            if limit["name"].endswith(self.checkout.environment["WORKSPACE_NAME"]):
                assert requests.delete(f"{limits}/{limit['id']}", timeout=30).status_code == 204


@contextmanager
def made(checkout: Checkout, emulator: RunningEmulator, strategy: str) -> Iterator[Production]:  # noqa: F811
    """A workspace of its own, without anything in it."""
    name = f"ws-{uuid.uuid4().hex[:8]}"
    with ExitStack() as callers:
        own = replace(checkout, environment={**checkout.environment, "WORKSPACE_NAME": name})
        yield Production(own, emulator, strategy, callers)


@pytest.fixture(scope="module")
def replaced(checkout: Checkout, emulator: RunningEmulator) -> Iterator[Production]:  # noqa: F811
    slow_down_training(checkout)
    with made(checkout, emulator, "replace") as production:
        yield production


@pytest.fixture(scope="module")
def canary(checkout: Checkout, emulator: RunningEmulator) -> Iterator[Production]:  # noqa: F811
    with made(checkout, emulator, "canary") as production:
        assert production.release(()).report["outcome"] == "Promoted"
        yield production


def check_as_if_undisturbed(production: Production, run: FinishedRun, before: Contents) -> None:
    assert run.report["outcome"] == "Promoted", run.terminal
    assert run.exit_status == 0
    check_contents(production, before)


def check_contents(production: Production, before: Contents) -> None:
    """One run and one version more, which production serves, and which it has begun to serve without a failure."""
    after, version = production.contents(), len(before.stages) + 1
    assert len(after.runs) == len(before.runs) + 1
    assert set(after.runs.values()) == {"Completed"}
    assert after.stages == {**dict.fromkeys(before.stages, "archived"), str(version): "production"}
    assert after.services == {SERVICE: "Healthy"}
    assert after.served == {SERVICE: [f"diabetes-ridge:{version}"]}
    assert production.caller is not None
    assert production.caller.failures == []


def test_the_first_release(replaced: Production) -> None:
    run = replaced.release(FIRST_RELEASE)

    check_as_if_undisturbed(replaced, run, NOTHING)


def test_a_release_that_is_killed_while_it_learns(replaced: Production) -> None:
    before = replaced.contents()

    run = replaced.release(LEARNING, training_seconds=25)

    check_as_if_undisturbed(replaced, run, before)


@pytest.mark.parametrize("killed_at", RELEASES, ids=" ".join)
def test_a_release_that_replaces(replaced: Production, killed_at: Sequence[str]) -> None:
    before = replaced.contents()

    run = replaced.release(killed_at)

    check_as_if_undisturbed(replaced, run, before)


def test_a_release_is_taken_up_when_the_lease_of_the_killed_flow_has_ended(replaced: Production) -> None:
    before = replaced.contents()

    run = replaced.release(["… evaluation started"], wait_for_lease=True)

    check_as_if_undisturbed(replaced, run, before)


def test_killed_when_all_was_done_it_has_nothing_left_to_do(replaced: Production) -> None:
    before = replaced.contents()

    run = replaced.release(["✓ mark as production"])

    assert run.report["outcome"] == "NotPromoted", run.terminal
    check_contents(replaced, before)


def test_what_a_killed_flow_has_left_is_removed_by_one_that_releases_nothing(replaced: Production) -> None:
    before = replaced.contents()
    replaced.kill("… test test started", replaced.alpha - 0.005)
    replaced.end_lease()
    assert replaced.contents().services.keys() == {SERVICE, "diabetes-test"}

    run = replaced.start(alpha=10).finish()

    assert run.report["outcome"] == "NotPromoted", run.terminal
    after = replaced.contents()
    assert (after.services, after.served) == (before.services, before.served)


@pytest.mark.parametrize("killed_at", CANARY_RELEASES, ids=" ".join)
def test_a_canary_release(canary: Production, killed_at: Sequence[str]) -> None:
    before = canary.contents()

    run = canary.release(killed_at)

    check_as_if_undisturbed(canary, run, before)
