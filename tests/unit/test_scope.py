"""Options that this version cannot carry out stop a run; they are never ignored in silence."""

from __future__ import annotations

import pytest

from flows.scope import load_settings, without_effect
from settings import SettingsError

pytestmark = pytest.mark.unit


def test_the_shipped_settings_are_carried_out_as_a_whole() -> None:
    settings = load_settings(None, ())

    assert list(without_effect(settings)) == []


def test_every_option_that_would_be_ignored_is_named_at_once() -> None:
    overrides = ("deployment.image.docker.use_gpu=true", "deployment.image.runtime=spark-py")

    with pytest.raises(SettingsError) as caught:
        load_settings(None, overrides)

    assert [problem.path for problem in caught.value.problems] == [
        "deployment.image.docker.use_gpu",
        "deployment.image.runtime",
    ]


@pytest.mark.parametrize(
    "override", ["experiment.framework.sklearn._enable_optimized_mode=true", "experiment.history.snapshotProject=false"]
)
def test_an_option_that_lost_its_meaning_gets_a_note(override: str) -> None:
    option = override.partition("=")[0]

    assert [option in sentence for sentence in without_effect(load_settings(None, (override,)))] == [True]


def test_a_version_without_a_framework_gets_a_note() -> None:
    other = ("experiment.framework.name=other", "experiment.framework.other.framework_version=3.x")
    managed = (
        "experiment.user_managed=true",
        "experiment.dependencies=null",
        "experiment.framework.sklearn.framework_version=1.7.2",
    )

    for overrides in (other, managed):
        notes = list(without_effect(load_settings(None, overrides)))
        assert ["framework_version has no effect" in note for note in notes] == [True]


def test_a_secret_in_an_override_is_refused_without_being_shown_and_a_variable_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PROD_KEY", "hunter2hunter2hunter2")
    option = "deployment.prod_deployment.primary_key"

    with pytest.raises(SettingsError) as caught:
        load_settings(None, (f"{option}=hunter2",))

    assert [problem.path for problem in caught.value.problems] == [option]
    assert "hunter2" not in str(caught.value)
    secondary = "deployment.prod_deployment.secondary_key=${PROD_KEY}"
    assert load_settings(None, (option + "=${PROD_KEY}", secondary)).deployment.prod_deployment.primary_key
