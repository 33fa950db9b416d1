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

from flows.report import duration, explanations, plots, render_markdown, write_report
from flows.studio import studio_query
from settings.deployment import EvaluationParameters
from settings.workspace import WorkspaceTarget
from tasks.comparison import compare
from tasks.values import (
    ColumnDrift,
    DataFailure,
    DataReport,
    Interval,
    LatencyProfile,
    MetricComparison,
    ModelProfile,
    ModelVersion,
    PredictionBin,
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
MSE = EvaluationParameters(smaller_is_better=("mse",))
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


TARGET = WorkspaceTarget(cloud="azure", name="mlops", subscription_id="0-1", resource_group="team(a)")
AZURE = ReportedWorkspace(name="mlops", cloud="azure", studio=studio_query(TARGET))


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
        comparison=ReportedComparison.of(compare(RUN, SERVED, MSE)),
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
    assert set(written["comparison"]) == {
        "production",
        "candidate",
        "table",
        "reasons",
        "notes",
        "scored_again",
        "test_data_fingerprint",
        "prediction_bins",
    }
    assert written["comparison"]["production"]["version"] == 1
    assert written["model"] == {"name": "diabetes-ridge", "version": 2}
    assert set(written["profile"]) == {"cpu", "memory_gb", "latency", "capped"}
    assert set(written["stages"][0]) == {
        "stage",
        "service",
        "compute_type",
        "cluster_purpose",
        "state",
        "scoring_uri",
        "tests",
        "load",
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


def test_run_model_and_service_are_links_into_the_studio():
    query = "wsid=/subscriptions/0-1/resourcegroups/team%28a%29/workspaces/mlops"

    lines = render_markdown(promoted(workspace=AZURE)).splitlines()

    for line in (
        "- production: [http://127.0.0.1:5001/score](<http://127.0.0.1:5001/score>)",
        "- training run: [diabetes_1_ab](<https://ml.azure.com/runs/diabetes_1_ab>) in experiment diabetes",
        f"- model: [diabetes-ridge version 2](<https://ml.azure.com/model/diabetes-ridge:2/details?{query}>)",
        f"- service: [diabetes-prod](<https://ml.azure.com/endpoints/realtime/diabetes-prod/detail?{query}>)",
        f"- workspace: [mlops](<https://ml.azure.com/?{query}>) (azure)",
    ):
        assert line in lines


def test_on_the_emulator_nothing_leads_to_a_studio_that_is_not_there():
    markdown = render_markdown(promoted())

    assert studio_query(TARGET.model_copy(update={"cloud": "emulator"})) is None
    assert "ml.azure.com" not in markdown
    assert "- training run: diabetes_1_ab in experiment diabetes\n" in markdown
    assert "- workspace: mlops (emulator, which has no studio to link to)\n" in markdown


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
        "| mse | smaller | 2854.97 | 2917.18 | 62.21 |  | better |",
        "diabetes-ridge version 2",
        "One replica gets 0.5 CPU cores and 0.5 GB of memory.",
        "It answers within 1.5 ms (p50), 4 ms (p99).",
        "| prod | diabetes-prod | AKS FAST_PROD | Healthy | 1 of 2 passed | 21.0 s |",
        "| prod | no key | FAILED | answered 200 \\| expected 401 | 3 ms |",
        "| training | 12.2 s |",
        "- production: [http://127.0.0.1:5001/score](<http://127.0.0.1:5001/score>)",
        "- flow run in Prefect: [http://127.0.0.1:4200/runs/flow-run/1](<http://127.0.0.1:4200/runs/flow-run/1>)",
        CURL,
    ]
    lines = text.splitlines()
    assert [line for line in lines if line in told] == told


def test_a_run_that_is_not_promoted_says_what_production_keeps():
    worse = ReportedComparison.of(
        compare(RUN.model_copy(update={"metrics": {"mse": 3000.5}}), SERVED, MSE),
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


DATA = DataReport(
    source="patients.csv",
    rows=3,
    columns=2,
    fingerprint="0123456789abcdef",
    failures=(
        DataFailure(check="range", column="age|x", rule="at least 0", seen="down to -2", count=2, rows=(1, 3)),
        DataFailure(check="rows", column=None, rule="at least 9 rows", seen="3 rows", count=1),
    ),
    reference="last_year.csv",
    drift=(
        ColumnDrift(column="age", psi=0.31234, ks=0.5, drifted=True),
        ColumnDrift(column="sex", psi=0.01, ks=None, drifted=False),
    ),
    max_psi=0.2,
)


def test_rejected_data_is_told_rule_by_rule_with_its_drift(tmp_path):
    rejected = report("DataRejected", data=DATA)
    lines = render_markdown(rejected).splitlines()
    for line in (
        "# DataRejected: the data breaks the settings' rules; nothing was trained.",
        "patients.csv: 3 rows, 2 columns, fingerprint `0123456789ab`.",
        "| range | age\\|x | at least 0 | down to -2 | 2 | 1, 3 |",
        "| rows |  | at least 9 rows | 3 rows | 1 |  |",
        "Compared with last_year.csv, at most PSI 0.2:",
        "| age | 0.312 | 0.5 | TOO FAR |",
        "| sex | 0.01 |  | within the limits |",
    ):
        assert line in lines
    assert explanations(rejected) == (
        "column age|x, range: at least 0, but down to -2 (2 in all, first in row 1)",
        "rows, rows: at least 9 rows, but 3 rows (1 in all)",
    )
    folder = write_report(rejected, tmp_path, plots(rejected)).parent
    assert (folder / "drift.png").read_bytes().startswith(b"\x89PNG")
    assert "![drift](drift.png)" in (folder / "report.md").read_text()


def test_the_comparison_shows_slices_intervals_and_notes_and_its_plots(tmp_path):
    rows = (
        MetricComparison(
            name="mse",
            larger_is_better=False,
            candidate=9.0,
            production=10.0,
            verdict="better",
            improvement=1.0,
            interval=Interval(low=-0.123456, high=2.0, confidence=0.95),
        ),
        MetricComparison(
            name="mse[sex=1]",
            larger_is_better=False,
            candidate=12.0,
            production=10.0,
            verdict="worse",
            blocks=True,
            slice_of="mse",
            improvement=-2.0,
        ),
    )
    bins = (PredictionBin(rows=2, target=1.0, candidate=1.1, production=0.9),)
    comparison = ReportedComparison(
        production=SERVED, candidate=RUN, table=rows, reasons=("why",), notes=("scored again",), prediction_bins=bins
    )
    compared = report("NotPromoted", comparison=comparison)
    text = (write_report(compared, tmp_path, plots(compared))).read_text()
    assert "- why\n- note: scored again\n" in text
    assert "| mse | smaller | 9 | 10 | 1 | -0.1235 to 2 | better |\n" in text
    assert "| mse[sex=1] | smaller | 12 | 10 | -2 |  | worse, which blocks |\n" in text
    assert "by a paired bootstrap with 0.95 confidence." in text
    assert "![improvement](improvement.png)\n![predictions](predictions.png)" in text
    assert explanations(compared) == ("why", "scored again")
