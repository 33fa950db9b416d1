"""docs/debugging.md, followed by somebody at a keyboard: each breakpoint is stopped at, each command of it is typed."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY, RunningEmulator
from tests.flow.conftest import Checkout
from tests.flow.documentation import at_the_prompt, breakpoints, commands_of
from tests.flow.processes import wait_until
from tests.flow.pseudo_terminal import PseudoTerminal

pytestmark = pytest.mark.flow

COMMANDS = commands_of("debugging.md")
PROMPT = "(Pdb) "


@contextmanager
def at(checkout: Checkout, command: str) -> Iterator[PseudoTerminal]:
    """A terminal in which a command of the page was typed."""
    assert command in COMMANDS, f"docs/debugging.md does not say: {command}"
    words = shlex.split(at_the_prompt(command))
    with PseudoTerminal(words, checkout.directory, checkout.environment) as terminal:
        yield terminal


def everything_that_is_kept(emulator: RunningEmulator) -> dict[str, Any]:
    with closing(sqlite3.connect(f"file:{emulator.state_directory / 'state.db'}?mode=ro", uri=True)) as database:
        rows = list(database.iterdump())
    files = emulator.state_directory.glob("blobs/**/*")
    return {"rows": rows, "files": sorted(str(path) for path in files)}


def test_a_dry_run_where_nothing_exists_says_that_all_would_be_created_and_creates_nothing(
    checkout: Checkout, emulator: RunningEmulator
) -> None:
    before = everything_that_is_kept(emulator)

    with at(checkout, ".venv/bin/python -m flows.main --dry-run") as terminal:
        status = terminal.wait_for_end()

    assert status == 0, terminal.shown
    shown = " ".join(terminal.shown.split())
    assert f"workspace create {checkout.environment['WORKSPACE_NAME']}" in shown
    assert "training compute create train-cluster" in shown
    assert "1 node of STANDARD_D2_V2" in shown
    assert "Nothing was created, changed or deleted." in shown
    assert everything_that_is_kept(emulator) == before


def test_a_dry_run_starts_no_emulator(checkout: Checkout, tmp_path: Path) -> None:
    environment = {**checkout.environment, "AZUREML_EMULATOR_STATE_DIR": str(tmp_path / "state")}
    elsewhere = Checkout(checkout.directory, environment)

    planned = elsewhere.command("flows.main", "--dry-run")

    assert planned.returncode == 0, planned.stderr
    assert "which does not run: what it keeps is not looked at" in planned.stdout
    assert not (tmp_path / "state").exists()


def test_breakpoints_in_the_flow_and_in_a_task_of_a_thread_are_stopped_at(checkout: Checkout) -> None:
    flow = ("flows/main.py", "settings, target, steps = road.settings, road.target, road.steps")
    task = ("tasks/environment.py", "return _register(target, training_environment(experiment))")
    with (
        breakpoints(checkout, flow, task),
        at(checkout, ".venv/bin/python -m flows.main --debug") as terminal,
    ):
        terminal.wait_for(PROMPT)
        terminal.type("p road.settings.experiment.name")
        terminal.wait_for("'diabetes-ridge'")
        terminal.type("continue")
        terminal.wait_for(PROMPT)
        terminal.type("p experiment.entry_script, target.cloud")
        terminal.wait_for("('train.py', 'emulator')")
        terminal.type("quit")
        status = terminal.wait_for_end()

    assert status == 1
    assert "The run was interrupted." in terminal.shown


def test_a_breakpoint_in_a_run_without_a_prompt_is_an_error_that_names_it(checkout: Checkout) -> None:
    with breakpoints(checkout, ("flows/main.py", "settings, target, steps = road.settings, road.target, road.steps")):
        run = checkout.run()

    assert run.exit_status == 1
    assert re.search(r"main\.py, line \d+, has a breakpoint, and this run has no prompt\.", run.terminal), run.terminal
    assert "Run it with --debug" in run.terminal


def test_a_step_that_needs_what_the_last_run_did_not_get_to_says_what_is_missing(checkout: Checkout) -> None:
    taken = checkout.command("flows.main", "--only", "profile")

    assert taken.returncode == 1
    assert "The last run, which ended as Failed, has no registered model" in taken.stdout
    assert "Traceback" not in taken.stdout + taken.stderr


def test_a_step_that_does_not_exist_is_answered_with_the_nearest_and_with_all(checkout: Checkout) -> None:
    taken = checkout.command("flows.main", "--only", "trainin")

    assert taken.returncode == 1
    assert "There is no step 'trainin'. Did you mean 'training'?" in taken.stdout
    assert "The steps are: workspace, data, training" in taken.stdout


def test_a_breakpoint_in_the_training_script_is_stopped_at(checkout: Checkout) -> None:
    command = ".venv/bin/python -m flows.local training"
    with breakpoints(checkout, ("code/training/train.py", "model = Ridge(")), at(checkout, command) as terminal:
        terminal.wait_for(PROMPT)
        terminal.type("p arguments.alpha, len(train_x)")
        terminal.wait_for("(0.5, 353)")
        terminal.type("continue")
        assert terminal.wait_for_end() == 0, terminal.shown
    assert "2917.17" in terminal.shown


def test_a_breakpoint_in_the_scoring_script_is_stopped_at(checkout: Checkout) -> None:
    command = ".venv/bin/python -m flows.local scoring"
    with (
        breakpoints(checkout, ("code/scoring/score.py", "return model.predict(")),
        at(checkout, command) as terminal,
    ):
        terminal.wait_for(PROMPT)
        terminal.type("p rows.shape, type(model).__name__")
        terminal.wait_for("((2, 10), 'Ridge')")
        terminal.type("continue")
        assert terminal.wait_for_end() == 0, terminal.shown
    assert "200 [190.2" in terminal.shown


def test_the_training_script_waits_for_a_debugger_of_its_own(checkout: Checkout) -> None:
    with at(checkout, ".venv/bin/python -m flows.local training --debugpy 5678") as terminal:

        def listens() -> bool:
            terminal.poll()
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", 5678)) == 0

        wait_until(listens, "debugpy listens")


def test_the_scoring_script_without_a_model_says_what_to_do(checkout: Checkout) -> None:
    shutil.rmtree(checkout.directory / "reports" / "local" / "outputs")

    started = checkout.command("flows.local", "scoring")

    assert started.returncode == 1
    assert "Run `python -m flows.local training` first." in started.stderr


def test_the_configurations_of_vs_code_start_what_is_there(checkout: Checkout) -> None:
    launch = json.loads((REPOSITORY / ".vscode" / "launch.json").read_text())
    from flows.only import LastRun
    from settings import load

    for configuration in launch["configurations"]:
        if configuration["request"] == "launch":
            options = [word for word in configuration["args"] if word.startswith("--")]
            shown = checkout.command(configuration["module"], "--help")
            assert shown.returncode == 0, shown.stderr
            assert all(option in shown.stdout for option in options)
        else:
            start = re.search(r"start: python -m ([\w.]+) (\w+) --debugpy (\d+)", configuration["name"])
            assert start, configuration["name"]
            assert int(start[3]) == configuration["connect"]["port"]
            assert start[2] in checkout.command(start[1], "--help").stdout
    (picked,) = launch["inputs"]
    assert picked["options"] == list(LastRun(load(None, []), Path("none")).steps)
