"""What a team reads when a run has ended."""

from __future__ import annotations

import pytest

from flows.notifications import message_of
from tasks.values import ReportedError
from tests.unit.test_report import AZURE, promoted, report

pytestmark = pytest.mark.unit


def test_the_subject_names_workspace_and_outcome_in_one_line() -> None:
    assert message_of(promoted()).subject == "mlops: Promoted: diabetes-ridge version 2 serves production."


def test_the_text_says_why_in_numbers_and_where_to_look() -> None:
    text = message_of(promoted(workspace=AZURE)).text

    assert text.startswith("**Promoted: diabetes-ridge version 2 serves production.**\n\n- ")
    assert "2854.97" in text
    assert "2917.18" in text
    assert "- workspace mlops (azure), 2 min 05 s\n" in text
    assert "- [the run in Prefect](http://127.0.0.1:4200/runs/flow-run/1)\n" in text
    assert text.endswith("- [the training run](https://ml.azure.com/runs/diabetes_1_ab)")


def test_the_emulator_has_no_studio_to_link_to() -> None:
    assert "ml.azure.com" not in message_of(promoted()).text


def test_a_failure_says_what_happened_and_what_to_do_next_without_the_log() -> None:
    error = ReportedError(message="The cluster\nis full.", next_step="Raise its quota.", log_tail="secret of a log")

    message = message_of(report("Failed", error=error))

    assert message.subject == "mlops: Failed: the run ended with an error."
    assert "- The cluster is full.\n- Raise its quota.\n" in message.text
    assert "secret of a log" not in message.text
