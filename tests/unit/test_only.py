"""What keeps a step that is taken alone from releasing what a whole run would not."""

from __future__ import annotations

from typing import Any

import pytest

from flows.only import check_production, check_promoted
from tasks.errors import MlopsError
from tasks.values import Approval, ModelVersion, ReportedComparison, ReportedModel, RunReport
from tests.unit.test_report import RUN, SERVED, report

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


@pytest.mark.parametrize(
    ("served", "now"),
    [(SERVED.model_copy(update={"version": 3}), "diabetes-ridge version 3"), (None, "no model")],
)
def test_another_production_than_the_last_run_compared_with_is_refused(served: ModelVersion | None, now: str) -> None:
    with pytest.raises(MlopsError, match=f"Production serves {now}, with which the last run did not compare its model"):
        check_production(compared("Promoted"), served)


def test_the_first_model_of_all_is_let_in() -> None:
    check_production(compared("Failed", production=None), None)
