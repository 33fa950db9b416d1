"""The model card: where a model comes from and what it was judged by."""

from __future__ import annotations

import pytest

from flows.model_card import model_card
from flows.plots.gates import gate_plots
from settings.deployment import ModelSettings
from tasks.gate.rules import Rule, compare_metric, listed_metrics
from tasks.values import (
    DataReport,
    Lineage,
    PredictionBin,
    RegisteredEnvironment,
    ReportedComparison,
    Scoring,
    TrainedRun,
)

pytestmark = pytest.mark.unit

SETTINGS = ModelSettings.model_validate(
    {
        "name": "diabetes",
        "description": "Progression",
        "model_framework": "ScikitLearn",
        "evaluation_parameters": {"smaller_is_better": ("mse",)},
    }
)
RUN = TrainedRun(
    experiment="diabetes",
    run_id="r1",
    metrics={"mse": 9.0, "alpha": 0.5},
    portal_url="https://ml.azure.com/runs/r1",
    environment_name="training",
    environment_version="3",
    compute_target="cpu",
)
RULE = Rule("mse", listed_metrics(SETTINGS.evaluation_parameters)["mse"])
COMPARISON = ReportedComparison(
    production=None,
    candidate=RUN,
    table=(compare_metric(RULE, 9.0, None, None, False),),
    reasons=("the first one",),
    test_data_fingerprint="fedcba",
    prediction_bins=(PredictionBin(rows=3, target=1.0, candidate=1.1, production=None),),
)
LINEAGE = Lineage(started_by="ada (GitHub)", flow_run_id="f1", settings_sha256="abc")
DATA = DataReport(source="data.csv", rows=10, columns=2, fingerprint="0123456789abcdef")
SCORING = Scoring(
    source_directory="code/scoring",
    entry_script="score.py",
    environment=RegisteredEnvironment(name="scoring", version="2"),
)


def card(
    comparison: ReportedComparison, data: DataReport | None, settings: ModelSettings = SETTINGS
) -> dict[str, bytes]:
    return model_card(settings, comparison, data, LINEAGE, SCORING, gate_plots(comparison, data))


def test_the_card_says_where_the_model_comes_from_and_what_it_was_judged_by() -> None:
    files = card(COMPARISON, DATA)
    assert list(files) == ["model_card.md", "predictions.png"]
    lines = files["model_card.md"].decode().splitlines()
    for line in (
        "# Model card: diabetes",
        "Progression",
        "| framework | ScikitLearn |",
        "| trained by | run r1 of experiment diabetes on cpu |",
        "| training environment | training:3 |",
        "| scoring environment | scoring:2 |",
        "| started by | ada (GitHub) |",
        "| settings (SHA-256) | abc |",
        "| test data (SHA-256) | fedcba |",
        "data.csv: 10 rows, 2 columns, fingerprint `0123456789ab`.",
        "| alpha | 0.5 |",
        "- the first one",
        "![predictions](predictions.png)",
    ):
        assert line in lines


def test_what_is_not_known_is_left_out() -> None:
    bare = COMPARISON.model_copy(update={"test_data_fingerprint": None, "prediction_bins": ()})
    files = card(bare, None, SETTINGS.model_copy(update={"description": None}))
    text = files["model_card.md"].decode()
    assert list(files) == ["model_card.md"]
    assert "## Data" not in text
    assert "## Plots" not in text
    assert "test data" not in text


def test_the_same_values_make_the_same_files() -> None:
    assert card(COMPARISON, DATA) == card(COMPARISON, DATA)
