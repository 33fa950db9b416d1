"""What a reader of report.json and report.md finds."""

from __future__ import annotations

import json
import math
import re
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.report import duration, render_markdown, write_report
from tasks.comparison import compare
from tasks.values import (
    LatencyProfile,
    ModelProfile,
    ModelVersion,
    RegisteredModel,
    ReportedComparison,
    ReportedError,
    ReportedModel,
    ReportedProfile,
    ReportedRun,
    ReportedWorkspace,
    RunReport,
    StageReport,
    TestResult,
    TrainedRun,
)

pytestmark = pytest.mark.unit

CURL = (
    'curl -H "Authorization: Bearer $(python -m flows.main key prod)" --data @sample.json http://127.0.0.1:5001/score'
)
RUN = TrainedRun(
    experiment="diabetes",
    run_id="diabetes_1_ab",
    metrics={"mse": 2854.97, "alpha": 0.2},
    portal_url="https://ml.azure.com/runs/diabetes_1_ab",
    environment_name="training",
    environment_version="1",
    compute_target="cpu-cluster",
)
SERVED = ModelVersion(name="diabetes-ridge", version=1, run_id="r1", experiment="diabetes", metrics={"mse": 2917.18})
STAGE = StageReport(
    stage="prod",
    service="diabetes-prod",
    compute_type="AKS",
    cluster_purpose="FAST_PROD",
    state="Healthy",
    scoring_uri="http://127.0.0.1:5001/score",
    tests=(
        TestResult(name="sample", passed=True, detail="2 predictions", milliseconds=12.3),
        TestResult(name="no key", passed=False, detail="answered 200 | expected 401", milliseconds=3),
    ),
    seconds=21.04,
)


def report(outcome: str, **fields: Any) -> RunReport:
    return RunReport.model_validate(
        {
            "outcome": outcome,
            "started": datetime(2026, 7, 1, 12, 30, 5, tzinfo=timezone.utc),
            "settings": "settings/settings.json",
            "workspace": ReportedWorkspace(name="mlops", cloud="emulator"),
            "timings": {"training": 12.24, "prod": 65.0},
            "total_seconds": 125.4,
            **fields,
        }
    )


def promoted(**fields: Any) -> RunReport:
    return report(
        "Promoted",
        run=ReportedRun.of(RUN),
        comparison=ReportedComparison.of(compare(RUN, SERVED, [], ["mse"])),
        model=ReportedModel.of(
            RegisteredModel(name="diabetes-ridge", version=2, model_id="diabetes-ridge:2", run_id="r")
        ),
        profile=ReportedProfile.of(
            ModelProfile(
                name="profile-1",
                cpu=0.5,
                memory_gb=0.5,
                latency=LatencyProfile(p50_ms=1.5, p99_ms=4),
                success_rate=100,
                requests_per_second=400,
            )
        ),
        stages=(STAGE,),
        production_url="http://127.0.0.1:5001/score",
        prefect_url="http://127.0.0.1:4200/runs/flow-run/1",
        curl=CURL,
        **fields,
    )


def test_report_json_has_the_documented_fields(tmp_path):
    written = json.loads((write_report(promoted(), tmp_path).parent / "report.json").read_text())
    assert written["outcome"] == "Promoted"
    assert written["started"] == "2026-07-01T12:30:05Z"
    assert {key: written["run"][key] for key in ("experiment", "id", "metrics")} == {
        "experiment": "diabetes",
        "id": "diabetes_1_ab",
        "metrics": {"mse": 2854.97, "alpha": 0.2},
    }
    assert set(written["comparison"]) == {"production", "candidate", "table", "reasons"}
    assert written["comparison"]["production"]["version"] == 1
    assert written["model"] == {"name": "diabetes-ridge", "version": 2}
    assert set(written["profile"]) == {"cpu", "memory_gb", "latency"}
    assert set(written["stages"][0]) == {
        "stage",
        "service",
        "compute_type",
        "cluster_purpose",
        "state",
        "scoring_uri",
        "tests",
        "seconds",
    }
    assert written["timings"] == {"training": 12.24, "prod": 65.0}
    assert written["total_seconds"] == 125.4


def test_a_report_reads_back_as_it_was_written(tmp_path):
    written = (write_report(promoted(), tmp_path).parent / "report.json").read_text()
    assert RunReport.model_validate_json(written) == promoted()


def test_a_metric_that_json_has_no_number_for_is_written_as_its_name(tmp_path):
    diverged = RUN.model_copy(update={"metrics": {"mse": math.nan, "loss": -math.inf}})
    path = write_report(report("Failed", run=ReportedRun.of(diverged)), tmp_path).parent / "report.json"

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    written = json.loads(path.read_text(), parse_constant=refuse)
    assert written["run"]["metrics"] == {"mse": "NaN", "loss": "-Infinity"}
    run = RunReport.model_validate_json(path.read_text()).run
    assert run and math.isnan(run.metrics["mse"])


def test_the_start_is_given_in_utc_wherever_the_run_was_started():
    berlin = timezone(timedelta(hours=2))
    text = render_markdown(report("Failed", started=datetime(2026, 7, 1, 14, 30, 5, tzinfo=berlin)))
    assert "Started 2026-07-01 12:30:05 UTC" in text


def test_latest_points_at_the_last_report_and_the_former_stay(tmp_path):
    first = write_report(promoted(), tmp_path)
    assert (tmp_path / "latest" / "report.md").samefile(first)
    second = write_report(report("Failed"), tmp_path)
    assert (tmp_path / "latest" / "report.md").samefile(second)
    assert not (tmp_path / "latest").readlink().is_absolute()
    assert first.exists()
    # Nothing unfinished is left, neither beside the folders nor in them.
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["latest", first.parent.name, second.parent.name])
    assert sorted(path.name for path in first.parent.iterdir()) == ["report.json", "report.md"]


def test_a_promoted_run_reads_from_the_outcome_to_the_command_that_scores_it():
    text = render_markdown(promoted())
    told = [
        "# Promoted: diabetes-ridge version 2 serves production.",
        "Started 2026-07-01 12:30:05 UTC, took 2 min 05 s.",
        "- mse 2854.97 is better than production's 2917.18 (smaller is better)",
        "| mse | smaller | 2854.97 | 2917.18 | better |",
        "diabetes-ridge version 2",
        "One replica gets 0.5 CPU cores and 0.5 GB of memory.",
        "It answers within 1.5 ms (p50), 4 ms (p99).",
        "| prod | diabetes-prod | AKS FAST_PROD | Healthy | 1 of 2 passed | 21.0 s |",
        "| prod | no key | FAILED | answered 200 \\| expected 401 | 3 ms |",
        "| training | 12.2 s |",
        "- production: http://127.0.0.1:5001/score",
        "- flow run in Prefect: http://127.0.0.1:4200/runs/flow-run/1",
        CURL,
    ]
    lines = text.splitlines()
    assert [line for line in lines if line in told] == told


def test_a_run_that_is_not_promoted_says_what_production_keeps():
    worse = ReportedComparison.of(
        compare(RUN.model_copy(update={"metrics": {"mse": 3000.5}}), SERVED, [], ["mse"]),
    )
    text = render_markdown(report("NotPromoted", run=ReportedRun.of(RUN), comparison=worse))
    assert text.startswith("# NotPromoted: production keeps diabetes-ridge version 1.\n")
    assert "- mse 3000.5 is worse than production's 2917.18 (smaller is better)\n" in text
    assert "## Stages" not in text
    assert "curl" not in text


def test_a_failed_run_tells_the_error_the_next_step_and_the_log():
    error = ReportedError(
        message="Run r1 failed.", next_step="Correct train.py.", log_tail="\x1b[31mValueError\x1b[0m\n```\nnot closed"
    )
    text = render_markdown(report("Failed", error=error))
    assert "# Failed: the run ended with an error.\n" in text
    assert "\nRun r1 failed.\n\nCorrect train.py.\n\n````\nValueError\n```\nnot closed\n````\n" in text


@given(st.text(), st.text())
def test_no_text_breaks_the_table_that_it_stands_in(name, detail):
    test = TestResult(name=name, passed=True, detail=detail, milliseconds=1)
    rows = render_markdown(promoted().model_copy(update={"stages": (STAGE.model_copy(update={"tests": (test,)}),)}))
    after_header = rows.split("| stage | test | result | detail | took |\n", 1)[1].splitlines()
    row = after_header[1]
    assert len(re.findall(r"(?<!\\)\|", row)) == 6
    assert after_header[2] == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (4.24, "4.2 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 00 s"),
        (65.4, "1 min 05 s"),
        (3600, "60 min 00 s"),
    ],
)
def test_a_duration_is_written_as_one_would_say_it(seconds, text):
    assert duration(seconds) == text
