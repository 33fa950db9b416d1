"""The data that is judged, and the data that the settings hand to the training."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.scope import load_settings
from settings import SettingsError, load
from settings.judged_data import judged_data_problems, not_given
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.unit

OWN_SCRIPT = 'experiment.script_parameters={"--alpha": 0.5}'
DATASET = 'data.source={"dataset": "diabetes", "version": 3}'


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)


def reference(text: str) -> str:
    return f"experiment.data_references={{'d': {text}}}".replace("'", '"')


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("data=null", OWN_SCRIPT),
        (OWN_SCRIPT, reference("{'local_path': 'code/training/diabetes.csv'}")),
        (OWN_SCRIPT, reference("{'local_path': 'code/training'}")),
        ('experiment.script_parameters={"-d": "../training/diabetes.csv"}',),
        (DATASET, reference("{'dataset': {'name': 'diabetes', 'version': 3}}")),
        ("data.source={'dataset': 'diabetes'}".replace("'", '"'), reference("{'dataset': {'name': 'diabetes'}}")),
    ],
)
def test_data_that_is_handed_to_the_training_is_said_to_be(overrides: tuple[str, ...]) -> None:
    settings = load_settings(None, overrides)

    assert not_given(settings) is None


@pytest.mark.parametrize(
    ("overrides", "judged"),
    [
        ((OWN_SCRIPT,), "code/training/diabetes.csv"),
        ((OWN_SCRIPT, reference("{'local_path': 'code/scoring'}")), "code/training/diabetes.csv"),
        (("data.source.path=elsewhere.csv", OWN_SCRIPT), "elsewhere.csv"),
        ((DATASET,), "dataset diabetes:3"),
        ((DATASET, reference("{'dataset': {'name': 'other'}}")), "dataset diabetes:3"),
    ],
)
def test_data_of_which_it_is_not_known_is_named(overrides: tuple[str, ...], judged: str) -> None:
    sentence = not_given(load_settings(None, overrides))

    assert sentence is not None
    assert sentence.startswith(f"{judged} was judged, and neither experiment.script_parameters")
    assert "hands it to train.py" in sentence


def test_another_file_for_the_training_than_for_the_gate_is_refused_with_both_names() -> None:
    with pytest.raises(SettingsError) as refused:
        load_settings(None, ("data.source.path=data/newer.csv",))

    assert str(refused.value) == (
        "data.source.path: must be what the training is given: experiment.script_parameters.--data names "
        'code/training/diabetes.csv (found: "data/newer.csv")'
    )


def test_another_version_for_the_training_than_for_the_gate_is_refused_with_both_versions() -> None:
    settings = load(None, [DATASET, reference("{'dataset': {'name': 'diabetes'}}")])

    (problem,) = judged_data_problems(settings, Path())

    assert str(problem) == (
        "data.source.version: must be that of experiment.data_references.d, which is the latest (found: 3)"
    )
