"""What can go wrong, and what a person then sees: a sentence, the end of the right log, and production as it was."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import emulator_command
from tests.flow.conftest import Checkout, FinishedRun

pytestmark = pytest.mark.flow

TRAINING, SCORING, CHECK = (
    Path(name) for name in ("code/training/train.py", "code/scoring/score.py", "code/testing/check.py")
)


@contextmanager
def edited(checkout: Checkout, path: Path, old: str, new: str) -> Iterator[None]:
    """The user's code with a mistake in it, for a while."""
    file = checkout.directory / path
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    try:
        yield
    finally:
        file.write_text(text)


def failed(run: FinishedRun) -> str:
    """What the terminal says of a failed run, after what every failure has in common was seen."""
    assert run.exit_status == 1, run.terminal
    assert run.report["outcome"] == "Failed"
    assert run.report["error"]["next_step"]
    # Of the user's own script, in the end of its log, and of nothing else.
    assert run.terminal.count("Traceback") == (run.report["error"]["log_tail"] or "").count("Traceback")
    assert run.report["production_url"] is None
    return run.terminal


def test_wrong_settings_are_all_named_and_nothing_is_created(checkout: Checkout) -> None:
    run = checkout.run("--set", "experiment.nmae=x", "--set", "deployment.prod_deployment.num_replicas=0")

    assert run.exit_status == 2
    assert "experiment.nmae" in run.terminal
    assert "'name'" in run.terminal
    assert "deployment.prod_deployment.num_replicas: must be at least 1" in run.terminal
    assert "Traceback" not in run.terminal
    assert not (checkout.directory / "reports").exists()


def test_a_prefect_server_that_does_not_answer_is_named(checkout: Checkout) -> None:
    elsewhere = Checkout(checkout.directory, {**checkout.environment, "PREFECT_API_URL": "http://127.0.0.1:9/api"})

    run = elsewhere.run()

    assert run.exit_status == 1
    assert "http://127.0.0.1:9/api, does not answer" in run.terminal
    assert "Traceback" not in run.terminal


def test_an_emulator_that_cannot_start_says_why(checkout: Checkout, tmp_path: Path) -> None:
    emulator_command("start", "--state-dir", str(tmp_path))
    emulator_command("stop", "--state-dir", str(tmp_path))
    (tmp_path / "state.db").write_text("this is no database any more" * 100)
    environment = {**checkout.environment, "AZUREML_EMULATOR_STATE_DIR": str(tmp_path)}

    terminal = failed(Checkout(checkout.directory, environment).run())

    assert "state.db is damaged" in terminal
    assert "python -m emulator reset" in terminal


def test_a_package_that_cannot_be_installed_fails_with_the_build_log(checkout: Checkout) -> None:
    run = checkout.run("--set", 'experiment.dependencies.pip_packages=["scikit-learn==0.0.999"]')

    assert "scikit-learn==0.0.999" in failed(run)


def test_a_training_script_that_fails_shows_its_own_error(checkout: Checkout) -> None:
    with edited(checkout, TRAINING, "    run.log(", '    raise ValueError("no data today")\n    run.log('):
        terminal = failed(checkout.run())

    assert "ValueError: no data today" in terminal


def test_a_metric_that_was_not_logged_is_an_error_that_lists_those_that_were(checkout: Checkout) -> None:
    terminal = failed(checkout.run("--set", 'deployment.model.evaluation_parameters.smaller_is_better=["rmse"]'))

    assert "rmse" in terminal
    assert "alpha, mse" in terminal


def test_a_model_that_is_not_among_the_outputs_is_named_with_what_is(checkout: Checkout) -> None:
    with edited(
        checkout, TRAINING, 'os.environ.get("MODEL_FILE", "outputs/diabetes-ridge.pkl")', '"outputs/other.pkl"'
    ):
        terminal = failed(checkout.run())

    assert "has no file 'outputs/diabetes-ridge.pkl'; its outputs are: outputs/other.pkl" in terminal


def test_a_scoring_script_that_fails_in_init_shows_the_log_of_the_container(checkout: Checkout) -> None:
    with edited(checkout, SCORING, "    global model\n", '    raise RuntimeError("no such tokenizer")\n'):
        terminal = failed(checkout.run())

    assert "no such tokenizer" in terminal


def test_after_all_of_this_the_next_run_works(checkout: Checkout) -> None:
    run = checkout.run()

    assert run.exit_status == 0, run.terminal
    assert run.report["outcome"] == "Promoted"
    checkout.released = run.report["model"]["version"]


def test_an_answer_that_the_check_refuses_in_dev_keeps_the_model_from_production(checkout: Checkout) -> None:
    with edited(checkout, CHECK, "PLAUSIBLE_PROGRESSION = (0, 450)", "PLAUSIBLE_PROGRESSION = (0, 1)"):
        run = checkout.run("--set", "experiment.script_parameters.--alpha=0.3")

    terminal = failed(run)
    assert "outside of the plausible 0 to 1" in terminal
    assert [(stage["stage"], stage["tests"][0]["passed"]) for stage in run.report["stages"]] == [("dev", False)]


def test_production_that_does_not_hold_gets_its_former_model_back(checkout: Checkout) -> None:
    # Good in dev and test, and refused at the third time, in production; good again when the former model is back.
    count = '    problems = check(json.loads(sample.read_text("utf-8")), json.loads(response.read_text("utf-8")))\n'
    refusing = count + (
        "    calls = Path('calls.txt')\n"
        "    calls.write_text(str(int(calls.read_text()) + 1 if calls.exists() else 1))\n"
        "    if calls.read_text() == '3':\n"
        "        problems.append('not in production')\n"
    )
    with edited(checkout, CHECK, count, refusing):
        run = checkout.run("--set", "experiment.script_parameters.--alpha=0.2")

    assert run.exit_status == 1, run.terminal
    assert run.report["outcome"] == "RolledBack", run.terminal
    assert "not in production" in run.report["error"]["message"]
    assert run.report["stages"][-1]["state"] == "Healthy"
    answer = checkout.shell(run.report["curl"])
    assert isinstance(json.loads(answer.stdout), list)

    again = checkout.run("--set", "experiment.script_parameters.--alpha=10")
    assert again.report["comparison"]["production"]["version"] == checkout.released
