"""The commands of docs/azure.md that need no Azure, on the emulator in its place."""

from __future__ import annotations

import pytest

from tests.conftest import RunningEmulator
from tests.flow.conftest import Checkout
from tests.flow.documentation import at_the_prompt, commands_of

pytestmark = pytest.mark.flow

COMMANDS = commands_of("azure.md")


@pytest.fixture(scope="module")
def prompt(checkout: Checkout, emulator: RunningEmulator) -> Checkout:
    """A shell that reaches the emulator, with the names that the page exports."""
    (names,) = (command for command in COMMANDS if command.startswith("export "))
    exported = dict(word.split("=", 1) for word in names.removeprefix("export ").split())
    assert set(exported) == {"SUBSCRIPTION_ID", "RESOURCE_GROUP", "WORKSPACE_NAME", "LOCATION"}
    environment = checkout.environment | emulator.environment | exported
    environment["WORKSPACE_NAME"] = checkout.environment["WORKSPACE_NAME"]  # this one is not there yet
    return Checkout(checkout.directory, environment)


def typed(prompt: Checkout, command: str, *options: str) -> tuple[int, str]:
    assert command in COMMANDS
    done = prompt.shell(" ".join([at_the_prompt(command), *options]))
    assert "Traceback" not in done.stdout + done.stderr
    return done.returncode, done.stdout


def test_the_checks_before_the_first_run_pass(prompt: Checkout) -> None:
    status, shown = typed(prompt, ".venv/bin/python -m flows.main --preflight")

    assert status == 0, shown
    assert "is not there; the first run creates it in westeurope" in shown
    assert shown.endswith("Nothing is missing.\n")


def test_what_is_missing_is_told_with_what_to_do_and_the_status_is_1(prompt: Checkout) -> None:
    too_many = "--set compute_target.training.amlcompute.max_nodes=60"

    status, shown = typed(prompt, ".venv/bin/python -m flows.main --preflight", too_many)

    assert status == 1
    assert "need 120 vCPUs of 'Standard Dv2 Family Cluster Dedicated vCPUs', of which" in shown
    assert shown.endswith("Missing: quota for training.\n")


def test_the_plan_of_the_first_run_is_shown(prompt: Checkout) -> None:
    status, shown = typed(prompt, ".venv/bin/python -m flows.main --dry-run")

    assert status == 0, shown
    assert "in westeurope" in shown or "(emulator)" in shown
