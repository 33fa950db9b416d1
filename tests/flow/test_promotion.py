"""The road of a newcomer: a first model, the same again, a better one, a worse one. The tests build on one another."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from tests.conftest import RunningEmulator
from tests.flow.conftest import Checkout
from tests.flow.documentation import at_the_prompt, breakpoints
from tests.flow.processes import wait_until
from tests.flow.pseudo_terminal import PseudoTerminal
from tests.flow.steady_caller import SteadyCaller

pytestmark = pytest.mark.flow

SAMPLE = Path("code/testing/sample_request.json")


def production_key(checkout: Checkout) -> str:
    printed = checkout.command("flows.service_key", "prod")
    assert printed.returncode == 0, printed.stderr
    return printed.stdout.strip()


def skipped_steps(checkout: Checkout) -> dict[str, str]:
    """The last run's task runs in state Skipped, as Prefect has them, and why."""
    assert checkout.last is not None
    flow_run = checkout.last.report["prefect_url"].rpartition("/")[2]
    answered = requests.post(
        checkout.environment["PREFECT_API_URL"] + "/task_runs/filter",
        json={"flow_runs": {"id": {"any_": [flow_run]}}},
        timeout=30,
    )
    return {each["name"]: each["state"]["message"] for each in answered.json() if each["state_name"] == "Skipped"}


def test_the_first_model_climbs_to_production_as_version_1(checkout: Checkout) -> None:
    run = checkout.run()

    assert run.exit_status == 0, run.terminal
    report = run.report
    assert report["outcome"] == "Promoted"
    assert report["model"] == {"name": "diabetes-ridge", "version": 1}
    assert report["run"]["metrics"]["mse"] == pytest.approx(2917.18, abs=0.01)
    assert report["comparison"]["production"] is None
    assert report["profile"]["cpu"] > 0
    assert report["profile"]["memory_gb"] > 0
    assert report["profile"]["latency"]["p50_ms"] > 0
    assert [
        (stage["stage"], stage["compute_type"], stage["cluster_purpose"], stage["state"]) for stage in report["stages"]
    ] == [
        ("dev", "ACI", None, "Healthy"),
        ("test", "AKS", "DEV_TEST", "Healthy"),
        ("prod", "AKS", "FAST_PROD", "Healthy"),
    ]
    for stage in report["stages"]:
        assert [test["name"] for test in stage["tests"]] == [
            "scores the sample",
            "refuses a call without a key",
            "describes the sample in Swagger",
            "refuses wrong input",
        ]
        assert all(test["passed"] for test in stage["tests"])
    assert report["total_seconds"] >= report["timings"]["training"] > 0
    assert "Promoted" in run.terminal
    assert "| prod | diabetes-prod | AKS FAST_PROD | Healthy |" in run.markdown
    assert report["data"]["rows"] == 442
    assert "![predictions](predictions.png)" in run.markdown
    assert (checkout.directory / "reports/latest/predictions.png").is_file()


def test_the_printed_curl_line_answers(checkout: Checkout) -> None:
    assert checkout.last is not None
    line = checkout.last.report["curl"]
    assert line in checkout.last.terminal

    called = checkout.shell(line)

    assert called.returncode == 0, called.stderr
    assert isinstance(json.loads(called.stdout), list)


def test_one_step_is_taken_alone_on_what_the_run_has_left(checkout: Checkout) -> None:
    report = checkout.directory / "reports" / "latest" / "report.json"
    before = report.read_bytes()

    taken = checkout.shell(at_the_prompt(".venv/bin/python -m flows.main --only evaluation"))

    assert taken.returncode == 0, taken.stdout + taken.stderr
    comparison = json.loads(taken.stdout[taken.stdout.index("{") :])
    assert comparison["candidate"]["run_id"] == json.loads(before)["run"]["id"]
    assert comparison["promote"] is False
    assert "is the one that diabetes-ridge version 1 in production was made from" in comparison["reasons"][0]
    assert report.read_bytes() == before


def test_a_breakpoint_in_a_step_taken_alone_is_stopped_at(checkout: Checkout) -> None:
    command = at_the_prompt('.venv/bin/python -m flows.main --debug --only "test prod"')
    tested = 'report(f"{sum(result.passed for result in results)} of {len(results)} passed")'

    with (
        breakpoints(checkout, ("tasks/endpoint_tests.py", tested)),
        PseudoTerminal(["bash", "-c", command], checkout.directory, checkout.environment) as terminal,
    ):
        terminal.wait_for("(Pdb) ")
        terminal.type("p [result.passed for result in results], endpoint.service")
        terminal.wait_for("([True, True, True, True], 'diabetes-prod')")
        terminal.type("continue")
        status = terminal.wait_for_end()

    assert status == 0, terminal.shown


def test_a_deployment_to_production_taken_alone_waits_its_turn(checkout: Checkout) -> None:
    limits = checkout.environment["PREFECT_API_URL"] + "/v2/concurrency_limits"
    (name,) = (
        limit["name"]
        for limit in requests.post(f"{limits}/filter", json={}, timeout=30).json()
        if limit["name"].endswith(checkout.environment["WORKSPACE_NAME"])
    )
    taken = {"names": [name], "slots": 1, "mode": "concurrency", "lease_duration": 300}
    lease = requests.post(f"{limits}/increment-with-lease", json=taken, timeout=30).json()
    shown = []

    with subprocess.Popen(
        [sys.executable, "-m", "flows.main", "--only", "deploy to prod"],
        cwd=checkout.directory,
        env={**checkout.environment, "PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            shown.append(line)
            if "turn to release" in line and "started" in line:
                assert process.poll() is None
                requests.post(
                    f"{limits}/decrement-with-lease", json={"lease_id": lease["lease_id"]}, timeout=30
                ).raise_for_status()

    text = "".join(shown)
    assert process.returncode == 0, text
    assert text.index("turn to release") < text.index("deploy to prod")
    assert '"service": "diabetes-prod"' in text


def test_no_key_stands_in_what_a_run_leaves_behind(checkout: Checkout) -> None:
    key = production_key(checkout)

    contents = [path.read_bytes() for path in (checkout.directory / "reports").rglob("*") if path.is_file()]

    assert contents
    assert not [content for content in contents if key.encode() in content]


def test_dev_and_test_services_are_gone_and_production_is_kept(checkout: Checkout, emulator: RunningEmulator) -> None:
    script = (
        "from azureml.core import Workspace; import os;"
        "ws = Workspace.get(os.environ['WORKSPACE_NAME'], subscription_id=os.environ['SUBSCRIPTION_ID'],"
        " resource_group=os.environ['RESOURCE_GROUP']);"
        "print(sorted(ws.webservices), {m.id: m.tags['stage'] for m in ws.models.values()})"
    )
    environment = {**checkout.environment, **emulator.environment}
    environment["WORKSPACE_NAME"] = checkout.environment["WORKSPACE_NAME"]

    printed = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)

    assert printed.stdout.strip() == "['diabetes-prod'] {'diabetes-ridge:1': 'production'}", printed.stderr


def test_the_same_model_does_not_beat_itself(checkout: Checkout) -> None:
    run = checkout.run()

    assert run.exit_status == 0, run.terminal
    assert run.report["outcome"] == "NotPromoted"
    assert run.report["comparison"]["production"]["version"] == 1
    assert run.report["model"] is None
    assert run.report["stages"] == []
    assert "✓ training (cached)" in run.terminal
    assert "is the one that diabetes-ridge version 1 in production was made from" in run.terminal
    assert "- skipped: registration, profile, deploy to dev" in run.terminal
    not_taken = ["registration", "profile", "deploy to dev", "test dev", "deploy to test", "test test"]
    not_taken += ["deploy to prod", "test prod", "mark as production"]
    reason = "the candidate is not better than what production serves"
    wait_until(
        lambda: skipped_steps(checkout) == {f"{step} (skipped)": reason for step in not_taken}, "all are skipped"
    )


def test_data_that_breaks_a_rule_ends_the_run_before_any_compute_is_made(checkout: Checkout) -> None:
    rules = ("--set", "data.columns.bmi.max=0.16", "--set", 'data.columns.name={"type": "text"}')

    run = checkout.run(*rules, "--set", "compute_target.training.amlcompute.name=never-made")

    assert run.exit_status == 0, run.terminal
    assert run.report["outcome"] == "DataRejected"
    assert list(run.report["timings"]) == ["workspace", "data"]
    assert [
        (each["check"], each["column"], each["count"], each["rows"]) for each in run.report["data"]["failures"]
    ] == [("columns", "name", 1, []), ("largest value", "bmi", 2, [257, 368])]
    assert "column bmi, largest value: at most 0.16, but up to 0.170555 (2 in all, first in row 257)" in run.terminal
    assert "| largest value | bmi | at most 0.16 | up to 0.170555 | 2 | 257, 368 |" in run.markdown


def test_on_other_test_data_production_is_scored_again_and_a_slice_that_loses_blocks(checkout: Checkout) -> None:
    sample = checkout.directory / "code/training/diabetes.csv"
    (sample.parent / "newer.csv").write_text("".join(sample.read_text().splitlines(keepends=True)[:400]))
    gate = "deployment.model.evaluation_parameters"

    run = checkout.run(
        *("--set", "data.source.path=code/training/newer.csv"),
        *("--set", "experiment.script_parameters.--data=newer.csv"),
        *("--set", "experiment.script_parameters.--alpha=0.7"),
        *("--set", f"{gate}.metrics.mse.slices.allowed_relative_loss=0", "--set", f"{gate}.significance.required=true"),
    )

    assert run.exit_status == 0, run.terminal
    comparison = run.report["comparison"]
    assert run.report["outcome"] == "NotPromoted"
    assert comparison["scored_again"]
    assert "production was scored again, on the candidate's test data" in run.terminal
    assert comparison["production"]["metrics"]["mse"] == pytest.approx(2917.18, abs=0.01)  # on its own test data
    assert [
        (row["name"], row["slice_of"], round(row["candidate"], 2), round(row["production"], 2))
        for row in comparison["table"]
    ] == [
        ("mse", None, 3579.46, 3300.22),
        ("mse[sex=1]", "mse", 3565.96, 3297.68),
        ("mse[sex=2]", "mse", 3594.37, 3303.02),
    ]
    for row in comparison["table"]:
        assert (row["verdict"], row["blocks"]) == ("worse", True)
        assert row["improvement"] == pytest.approx(row["production"] - row["candidate"])
    whole, *slices = comparison["table"]
    assert whole["interval"]["confidence"] == 0.95
    assert whole["interval"]["low"] < whole["improvement"] < whole["interval"]["high"] < 0
    assert [row["interval"] for row in slices] == [None, None]
    assert "| mse[sex=1] | smaller | 3565.96 | 3297.68 | -268.3 |  | worse, which blocks |" in run.markdown
    assert "by a paired bootstrap with 0.95 confidence." in run.markdown


def test_an_improvement_that_may_be_chance_does_not_promote_where_it_has_to_be_significant(checkout: Checkout) -> None:
    gate = "deployment.model.evaluation_parameters"

    run = checkout.run(
        *("--set", "experiment.script_parameters.--alpha=0.2"),
        *("--set", f"{gate}.metrics.mse.slices.allowed_relative_loss=0.01"),
        *("--set", f"{gate}.significance.required=true", "--stop-before", "registration"),
    )

    assert run.exit_status == 0, run.terminal
    assert run.report["outcome"] == "NotPromoted"
    comparison = run.report["comparison"]
    assert not comparison["scored_again"]
    assert [(row["name"], row["verdict"]) for row in comparison["table"]] == [
        ("mse", "not significant"),
        ("mse[sex=1]", "tolerated"),
        ("mse[sex=2]", "better"),
    ]
    interval = comparison["table"][0]["interval"]
    assert interval["low"] < 0 < comparison["table"][0]["improvement"] < interval["high"]
    assert "better" in comparison["reasons"][0]
    assert "but not significantly: the improvement lies between" in comparison["reasons"][0]


def test_a_better_model_replaces_production_without_a_failed_request(checkout: Checkout) -> None:
    assert checkout.last is not None
    url = checkout.last.report["production_url"] or _production_url(checkout)
    body = (checkout.directory / SAMPLE).read_bytes()

    with SteadyCaller(url, production_key(checkout), body) as caller:
        run = checkout.run("--set", "experiment.script_parameters.--alpha=0.2")

    assert run.exit_status == 0, run.terminal
    assert run.report["outcome"] == "Promoted"
    assert run.report["model"]["version"] == 2
    assert run.report["production_url"] == url
    assert caller.failures == []
    assert caller.answered > 100


def test_a_worse_model_leaves_production_alone_and_a_message_that_cannot_be_sent_changes_nothing(
    checkout: Checkout,
) -> None:
    message = ("--set", "notifications.block=slack-webhook/nobody-made-it")

    run = checkout.run("--set", "experiment.script_parameters.--alpha=10", *message)

    assert run.exit_status == 0, run.terminal
    assert "note: " in run.terminal
    assert "nobody-made-it" in run.terminal
    assert run.report["outcome"] == "NotPromoted"
    assert run.report["comparison"]["production"]["version"] == 2
    assert run.report["comparison"]["table"][0]["verdict"] == "worse"


def test_a_model_that_the_gate_kept_out_is_not_deployed_to_production_alone_either(checkout: Checkout) -> None:
    taken = checkout.shell(at_the_prompt('.venv/bin/python -m flows.main --only "deploy to prod"'))

    assert taken.returncode == 1, taken.stdout
    assert "The last run did not let its model into production: mse " in taken.stdout + taken.stderr
    assert "Start a run that trains a better one." in taken.stdout + taken.stderr


def test_a_plain_sdk_script_scores_production(checkout: Checkout, emulator: RunningEmulator, tmp_path: Path) -> None:
    script = tmp_path / "score.py"
    script.write_text(
        "import os\n"
        "from azureml.core import Workspace\n"
        "from azureml.core.webservice import Webservice\n"
        "ws = Workspace.from_config()\n"
        "print([model.id for model in ws.models.values()])\n"
        "print(Webservice(ws, 'diabetes-prod').run(open(os.environ['SAMPLE']).read()))\n"
    )
    names = {"subscription_id": "SUBSCRIPTION_ID", "resource_group": "RESOURCE_GROUP", "workspace_name": ""}
    config = {key: emulator.environment.get(name, "") for key, name in names.items()}
    config["workspace_name"] = checkout.environment["WORKSPACE_NAME"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    environment = {**os.environ, **emulator.environment, "SAMPLE": str(checkout.directory / SAMPLE)}

    printed = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, env=environment, capture_output=True, text=True
    )

    assert printed.returncode == 0, printed.stderr
    models, prediction = printed.stdout.strip().splitlines()[-2:]
    assert models == "['diabetes-ridge:2']"
    assert prediction.startswith("[")


def _production_url(checkout: Checkout) -> str:
    promoted = sorted((checkout.directory / "reports").glob("2*/report.json"))[0]
    return str(json.loads(promoted.read_text())["production_url"])
