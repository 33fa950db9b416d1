"""Production under a steady stream of requests, through whatever a release can come to: none fails, none is wrong.

The tests build on one another, and the last one counts.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.flow.conftest import Checkout, FinishedRun, checkout, prefect_server  # noqa: F401 - fixtures

pytestmark = [pytest.mark.reliability, pytest.mark.timeout(900)]

SAMPLE = Path("code/testing/sample_request.json")
FEWEST_REQUESTS = 5000
# By the answer that is expected of it, each model is told from the others; each is better than the one before.
ALPHAS = {"first": 0.5, "second": 0.1, "third": 0.2}
# Good in dev and in test. In production it is refused by the third check (replace), or too slow beside another model.
FAILING = {
    "replace": (
        "code/testing/check.py",
        "    problems = []\n",
        "    problems = []\n"
        "    calls = Path('calls.txt')\n"
        "    calls.write_text(f\"{calls.read_text() if calls.exists() else ''}x\")\n"
        "    if calls.read_text() == 'xxx':\n"
        "        problems.append('not in production')\n",
    ),
    "canary": (
        "code/scoring/score.py",
        "    return model.predict(rows)",
        "    if os.environ['SERVICE_NAME'] == 'diabetes-prod':\n"
        "        __import__('time').sleep(0.3)\n"
        "    return model.predict(rows)",
    ),
}


@dataclass
class Production:
    """Production under one strategy, and what its callers have seen."""

    strategy: str
    checkout: Checkout
    address: str = ""
    answers: dict[str, str] = field(default_factory=dict)
    streams: list[tuple[set[str], dict[str, int]]] = field(default_factory=list)

    def run(self, *arguments: str, flow: str = "flows.main") -> FinishedRun:
        # The stream, the flow and both models share this machine: only what is really slow is to be noticed.
        settings = {"strategy": self.strategy, "canary.unnoticed_ms": 200}
        options = [f"deployment.prod_deployment.{name}={value}" for name, value in settings.items()]
        options += [argument for argument in arguments if "=" in argument]
        flags = [argument for argument in arguments if "=" not in argument]
        done = self.checkout.command(flow, *flags, *(word for option in options for word in ("--set", option)))
        latest = self.checkout.directory / "reports" / "latest"
        report = json.loads((latest / "report.json").read_text())
        return FinishedRun(done.returncode, done.stdout + done.stderr, report, (latest / "report.md").read_text())

    def release(self, model: str) -> FinishedRun:
        return self.run(f"experiment.script_parameters.--alpha={ALPHAS[model]}")

    def note_answer(self, model: str, run: FinishedRun) -> None:
        """What production answers now is what this model answers."""
        self.answers[model] = self.checkout.shell(run.report["curl"]).stdout.strip()

    @contextmanager
    def asked(self, *models: str) -> Iterator[None]:
        """A stream of requests, each of which one of these models has to answer."""
        result = self.checkout.directory / f"{uuid.uuid4().hex}.json"
        key = self.checkout.command("flows.service_key", "prod").stdout.strip()
        stream = subprocess.Popen(
            [sys.executable, "-m", "tests.reliability.request_stream", self.address, str(SAMPLE), str(result)],
            cwd=REPOSITORY,
            env={**os.environ, "SERVICE_KEY": key},
        )
        try:
            yield
        finally:
            stream.terminate()
            stream.wait(timeout=60)
        seen = json.loads(result.read_text())
        assert not [(status, text) for status, text, _ in seen if status != 200]
        self.streams.append((set(models), {text: count for _, text, count in seen}))


@pytest.fixture(scope="module", params=["replace", "canary"])
def production(checkout: Checkout, request: pytest.FixtureRequest) -> Production:  # noqa: F811
    """Production with its first model."""
    checkout.environment["WORKSPACE_NAME"] = f"ws-{uuid.uuid4().hex[:8]}"
    made = Production(request.param, checkout)
    first = made.release("first")
    assert first.report["outcome"] == "Promoted", first.terminal
    made.note_answer("first", first)
    made.address = first.report["production_url"]
    return made


def test_a_promotion(production: Production) -> None:
    with production.asked("first", "second"):
        run = production.release("second")

    assert run.report["outcome"] == "Promoted", run.terminal
    assert run.report["production_url"] == production.address
    steps = [(step["percent"], step["exceeded"]) for step in run.report["canary"]]
    assert steps == ([(10, []), (50, []), (100, [])] if production.strategy == "canary" else [])
    production.note_answer("second", run)


def test_a_release_that_fails_in_production(production: Production) -> None:
    file, good, failing = FAILING[production.strategy]
    script = production.checkout.directory / file
    before = script.read_text()
    assert good in before
    script.write_text(before.replace(good, failing))
    try:
        with production.asked("second", "third"):
            run = production.release("third")
    finally:
        script.write_text(before)

    assert run.exit_status == 1
    assert run.report["outcome"] == "RolledBack", run.terminal
    assert run.report["error"]["log_tail"]
    assert production.checkout.shell(run.report["curl"]).stdout.strip() == production.answers["second"]


def test_a_rollback_by_hand(production: Production) -> None:
    with production.asked("first", "second"):
        run = production.run(flow="flows.rollback")

    assert run.exit_status == 0, run.terminal
    assert run.report["outcome"] == "Restored"
    assert run.report["model"]["version"] == 1
    assert production.checkout.shell(run.report["curl"]).stdout.strip() == production.answers["first"]


def test_a_promotion_after_a_rollback(production: Production) -> None:
    with production.asked("first", "third"):
        run = production.release("third")

    assert run.report["outcome"] == "Promoted", run.terminal
    assert run.report["comparison"]["production"]["version"] == 1
    production.note_answer("third", run)


def test_every_one_of_at_least_5000_requests_was_answered_as_one_of_the_models_does(production: Production) -> None:
    for models, seen in production.streams:
        assert seen.keys() <= {production.answers[model] for model in models}
    assert len(production.streams) == 4
    assert sum(count for _, seen in production.streams for count in seen.values()) >= FEWEST_REQUESTS
