"""What keeps a step that is taken alone from releasing what a whole run would not."""

from __future__ import annotations

from typing import Any

import pytest

from flows.only import check_production, check_promoted, check_tried_out
from settings.deployment import LoadObjectives
from tasks.errors import MlopsError
from tasks.values import (
    Approval,
    Load,
    ModelVersion,
    ReportedComparison,
    ReportedModel,
    RunReport,
    StageReport,
    TestResult,
)
from tests.unit.test_report import RUN, SERVED, STAGE, report

pytestmark = pytest.mark.unit


def compared(outcome: str, production: ModelVersion | None = SERVED, **fields: Any) -> RunReport:
    comparison = ReportedComparison(production=production, candidate=RUN, table=(), reasons=("mse is worse",))
    return report(outcome, comparison=comparison, model=ReportedModel(name="diabetes-ridge", version=2), **fields)


@pytest.mark.parametrize(
    ("last", "needs_approval", "reason"),
    [
        (report("DataRejected"), False, "The last run, which ended as DataRejected, compared no model"),
        (compared("NotPromoted"), False, "did not let its model into production: mse is worse."),
        (compared("NotApproved", approval=Approval(decision="refused")), True, "not approved for production: refused."),
        (compared("Failed"), True, "not approved for production: nobody was asked."),
    ],
)
def test_a_model_that_the_last_run_did_not_let_into_production_is_refused(
    last: RunReport, needs_approval: bool, reason: str
) -> None:
    with pytest.raises(MlopsError, match=reason):
        check_promoted(last, needs_approval)


@pytest.mark.parametrize(
    "served", [SERVED, SERVED.model_copy(update={"version": 2})], ids=["what was compared with", "the model itself"]
)
def test_a_model_that_was_promoted_is_let_in(served: ModelVersion) -> None:
    last = compared("Promoted", approval=Approval(decision="approved"))

    check_promoted(last, True)
    check_production(last, served)


def tried_out(stage: str, *, passed: bool = True, p95_ms: float = 20) -> StageReport:
    load = Load(requests=100, seconds=1, error_rate=0, requests_per_second=100, p50_ms=10, p95_ms=p95_ms, p99_ms=90)
    return STAGE.model_copy(
        update={
            "stage": stage,
            "tests": (TestResult(name="sample", passed=passed, detail="answered 500", milliseconds=9),),
            "load": load if stage == "test" else None,
        }
    )


@pytest.mark.parametrize(
    ("stages", "reason"),
    [
        ((), "which ended as Failed, was not tested on dev."),
        ((tried_out("dev"),), "was not tested on test."),
        ((tried_out("dev", passed=False),), "did not pass its tests on dev: 'sample': answered 500."),
        ((tried_out("dev"), tried_out("test", passed=False)), "did not pass its tests on test: 'sample'"),
        ((tried_out("dev"), tried_out("test", p95_ms=70)), "on test: p95 was 70 ms, and 50 ms is the objective."),
    ],
)
def test_a_model_that_did_not_pass_the_stages_before_production_is_refused(
    stages: tuple[StageReport, ...], reason: str
) -> None:
    with pytest.raises(MlopsError, match=reason):
        check_tried_out(compared("Failed", stages=stages), LoadObjectives(latency_p95_ms=50))


@pytest.mark.parametrize(
    "last",
    [
        compared("Failed", stages=(tried_out("dev"), tried_out("test"))),
        compared("Promoted", stages=(tried_out("prod"),)),
    ],
    ids=["production failed", "a release that was taken up"],
)
def test_a_model_that_passed_the_stages_before_production_is_let_in(last: RunReport) -> None:
    check_tried_out(last, LoadObjectives(latency_p95_ms=50))


@pytest.mark.parametrize(
    ("served", "now"),
    [(SERVED.model_copy(update={"version": 3}), "diabetes-ridge version 3"), (None, "no model")],
)
def test_another_production_than_the_last_run_compared_with_is_refused(served: ModelVersion | None, now: str) -> None:
    with pytest.raises(MlopsError, match=f"Production serves {now}, with which the last run did not compare its model"):
        check_production(compared("Promoted"), served)


def test_the_first_model_of_all_is_let_in() -> None:
    check_production(compared("Failed", production=None), None)
