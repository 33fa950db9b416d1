"""Releases with a person, a canary, objectives and CPU of one's own, and what is taken back by hand: docs/releases.md.

The tests build on one another: each leaves production as the next one finds it.
"""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import requests

from tests.flow.conftest import Checkout, FinishedRun
from tests.flow.documentation import at_the_prompt, commands_of
from tests.flow.processes import wait_until
from tests.flow.test_failures import SCORING, edited

pytestmark = [pytest.mark.backends, pytest.mark.timeout(600)]

COMMANDS = commands_of("releases.md")
PROD = "deployment.prod_deployment"
# Each is better than the one before; by the answer that is expected of it each is told from the others.
BETTER = (0.5, 0.3, 0.2, 0.15)


def overrides(*options: str) -> list[str]:
    return [word for option in options for word in ("--set", option)]


def trained(alpha: float) -> str:
    return f"experiment.script_parameters.--alpha={alpha}"


def typed(checkout: Checkout, command: str, *options: str) -> FinishedRun:
    """What a run leaves that was started by a command of the page, with these overrides besides."""
    assert command in COMMANDS, f"docs/releases.md does not say: {command}"
    done = subprocess.run(
        [*shlex.split(at_the_prompt(command)), *overrides(*options)],
        cwd=checkout.directory,
        env=checkout.environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    return left_by(checkout, done.returncode, done.stdout + done.stderr)


def left_by(checkout: Checkout, exit_status: int, terminal: str) -> FinishedRun:
    latest = checkout.directory / "reports" / "latest"
    report = json.loads((latest / "report.json").read_text())
    return FinishedRun(exit_status, terminal, report, (latest / "report.md").read_text())


def answer(checkout: Checkout, run: FinishedRun) -> Any:
    return json.loads(checkout.shell(run.report["curl"]).stdout)


def production_key(checkout: Checkout) -> str:
    printed = checkout.command("flows.service_key", "prod")
    assert printed.returncode == 0, printed.stderr
    return printed.stdout


def served_version(checkout: Checkout) -> int:
    planned = checkout.command("flows.main", "--stop-before", "registration")
    assert planned.returncode == 0, planned.stdout + planned.stderr
    report = json.loads((checkout.directory / "reports/latest/report.json").read_text())
    return int(report["comparison"]["production"]["version"])


@contextmanager
def waiting_for_approval(checkout: Checkout, *options: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A run in a process of its own that has come to its approval; its id in Prefect."""
    api = checkout.environment["PREFECT_API_URL"]
    command = ".venv/bin/python -m flows.main --set deployment.prod_deployment.approval=required"
    assert command in COMMANDS
    with subprocess.Popen(
        [*shlex.split(at_the_prompt(command)), *overrides(*options)],
        cwd=checkout.directory,
        env=checkout.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            paused = {"flow_runs": {"state": {"type": {"any_": ["PAUSED"]}}}}

            def found() -> list[dict[str, Any]]:
                assert process.poll() is None, process.communicate()[0]
                return list(requests.post(f"{api}/flow_runs/filter", json=paused, timeout=30).json())

            wait_until(lambda: bool(found()), "the run asks for approval")
            yield found()[0]["id"], process
        finally:
            process.kill()


def decide(checkout: Checkout, run: str, **decision: Any) -> None:
    address = f"{checkout.environment['PREFECT_API_URL']}/flow_runs/{run}/resume"
    # The form is saved a moment after the run is paused, and no decision is taken before.
    wait_until(
        lambda: requests.post(address, json={"run_input": decision}, timeout=30).json()["status"] == "ACCEPT",
        "the decision is taken",
    )


def finished(checkout: Checkout, process: subprocess.Popen[str]) -> FinishedRun:
    terminal, _ = process.communicate(timeout=240)
    return left_by(checkout, process.returncode, terminal)


def test_a_profile_that_fails_stops_the_run_where_the_settings_name_no_cpu_and_memory(checkout: Checkout) -> None:
    with edited(checkout, SCORING, "    return model.predict(rows)", '    raise ValueError("no answer")'):
        run = checkout.run()

    assert run.exit_status == 1, run.terminal
    assert run.report["outcome"] == "Failed"
    assert "no answer" in run.report["error"]["log_tail"]
    assert "deployment.dev_deployment.cpu_cores" in run.report["error"]["next_step"]
    assert "deployment.prod_deployment.memory_gb" in run.report["error"]["next_step"]
    assert run.report["stages"] == []


def test_a_profile_that_fails_is_a_warning_where_the_settings_name_them(checkout: Checkout) -> None:
    stages = ("dev_deployment", "test_deployment", "prod_deployment")
    given = [f"deployment.{stage}.{name}" for stage in stages for name in ("cpu_cores=0.5", "memory_gb=0.5")]

    alone = (
        "    if not os.environ['SERVICE_NAME'].startswith('diabetes-'):\n"
        "        raise ValueError('no answer')\n"
        "    return model.predict(rows)"
    )

    with edited(checkout, SCORING, "    return model.predict(rows)", alone):
        run = checkout.run(*overrides(*given))

    assert run.exit_status == 0, run.terminal
    assert run.report["outcome"] == "Promoted"
    assert run.report["profile"] is None
    (warning,) = run.report["warnings"]
    assert warning.startswith("ProfileFailed: ")
    assert warning.endswith("CPU and memory of the services are those of the settings.")
    assert warning in run.markdown


def test_named_samples_are_asked_and_their_answers_compared(checkout: Checkout) -> None:
    testing = checkout.directory / "code/testing"
    patient = json.loads((testing / "sample_request.json").read_text())
    (testing / "one_patient.json").write_text(json.dumps({**patient, "data": patient["data"][:1]}))
    (testing / "expected.json").write_text("[1.0]")
    sample = {"request": "one_patient.json", "expected": "expected.json", "relative_tolerance": 0.01}
    named = f"deployment.endpoint_tests.samples={json.dumps({'one patient': sample})}"

    run = checkout.run(*overrides(trained(BETTER[1]), named))

    assert run.exit_status == 1, run.terminal
    assert run.report["outcome"] == "Failed"
    assert "one patient" in run.report["error"]["message"]
    assert "and not 1.0" in run.report["error"]["message"]
    assert [stage["stage"] for stage in run.report["stages"]] == ["dev"]


def test_an_objective_that_is_missed_keeps_the_model_from_production(checkout: Checkout) -> None:
    command = ".venv/bin/python -m flows.main --set deployment.test_deployment.objectives.latency_p95_ms=0.01"
    run = typed(checkout, command, trained(BETTER[1]))

    assert run.exit_status == 1, run.terminal
    assert run.report["outcome"] == "Failed"
    assert "misses its objectives under load: p95 was" in run.report["error"]["message"]
    assert [stage["stage"] for stage in run.report["stages"]] == ["dev", "test"]
    assert run.report["stages"][-1]["load"]["requests"] > 0
    assert "✓ remove test" in run.terminal
    assert served_version(checkout) == 1


def test_a_release_that_a_person_refuses_ends_well_and_production_stays(checkout: Checkout) -> None:
    with waiting_for_approval(checkout, trained(BETTER[1])) as (flow_run, process):
        decide(checkout, flow_run, approve=False, approver="Ada", comment="not before Monday")
        run = finished(checkout, process)

    assert run.exit_status == 0, run.terminal
    assert run.report["outcome"] == "NotApproved"
    assert run.report["approval"] == {"decision": "refused", "by": "Ada", "comment": "not before Monday"}
    assert "not before Monday" in run.markdown
    assert [stage["stage"] for stage in run.report["stages"]] == ["dev", "test"]
    assert served_version(checkout) == 1


def test_an_approval_that_nobody_gives_expires(checkout: Checkout) -> None:
    required = (f"{PROD}.approval=required", f"{PROD}.approval_minutes=0.05")

    run = checkout.run(*overrides(trained(BETTER[1]), *required))

    assert run.exit_status == 0, run.terminal
    assert run.report["outcome"] == "NotApproved"
    assert run.report["approval"]["decision"] == "expired"
    assert served_version(checkout) == 1


def test_a_release_that_a_person_approves_goes_into_production(checkout: Checkout) -> None:
    with waiting_for_approval(checkout, trained(BETTER[1])) as (flow_run, process):
        decide(checkout, flow_run, approve=True, approver="Ada")
        run = finished(checkout, process)

    assert run.exit_status == 0, run.terminal
    assert run.report["outcome"] == "Promoted"
    assert run.report["approval"] == {"decision": "approved", "by": "Ada", "comment": ""}


def test_the_former_version_is_brought_back_by_hand_and_the_keys_stay(checkout: Checkout) -> None:
    before = production_key(checkout)

    run = typed(checkout, ".venv/bin/python -m flows.rollback")

    assert run.exit_status == 0, run.terminal
    assert run.report["outcome"] == "Restored"
    assert run.report["model"]["version"] == 1
    assert production_key(checkout) == before
    assert served_version(checkout) == 1


def test_a_version_is_brought_back_by_its_number(checkout: Checkout) -> None:
    before = production_key(checkout)

    run = typed(checkout, ".venv/bin/python -m flows.rollback --to 2")

    assert run.exit_status == 0, run.terminal
    assert run.report["outcome"] == "Restored"
    assert served_version(checkout) == 2
    assert production_key(checkout) == before


def test_a_version_that_was_never_released_cannot_be_brought_back(checkout: Checkout) -> None:
    run = checkout.command("flows.rollback", "--to", "99")

    assert run.returncode == 1
    assert "Version 99 of model 'diabetes-ridge' was never released." in run.stdout
    assert "Traceback" not in run.stdout + run.stderr


def test_a_service_that_was_replaced_is_not_turned_into_a_canary(checkout: Checkout) -> None:
    run = checkout.run(*overrides(trained(BETTER[2]), f"{PROD}.strategy=canary"))

    assert run.exit_status == 1
    assert "is an AksWebservice, as the strategy replace makes it; the settings want canary" in run.terminal


def test_a_canary_out_of_bounds_is_rolled_back_with_the_evidence(checkout: Checkout) -> None:
    command = ".venv/bin/python -m flows.main --set deployment.prod_deployment.strategy=canary"
    first = typed(checkout, command, trained(BETTER[2]), f"{PROD}.name=diabetes-canary")
    assert first.report["outcome"] == "Promoted", first.terminal
    answered = answer(checkout, first)
    slow = (
        "    if os.environ['SERVICE_NAME'] == 'diabetes-canary':\n"
        "        __import__('time').sleep(1)\n"
        "    return model.predict(rows)"
    )

    with edited(checkout, SCORING, "    return model.predict(rows)", slow):
        bounds = (
            f"{PROD}.name=diabetes-canary",
            f"{PROD}.canary.unnoticed_ms=200",
            f"{PROD}.canary.requests_per_step=20",
            f"{PROD}.canary.max_latency_ratio=1",
        )
        run = typed(checkout, command, trained(BETTER[3]), *bounds)

    assert run.exit_status == 1, run.terminal
    assert run.report["outcome"] == "RolledBack"
    (step,) = run.report["canary"]
    assert step["percent"] == 10
    assert step["candidate"]["p95_ms"] > 1000
    (exceeded,) = step["exceeded"]
    assert exceeded in run.report["error"]["message"]
    assert exceeded in run.markdown
    assert answer(checkout, run) == answered
