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


def test_an_option_that_lost_its_meaning_gets_a_note() -> None:
    settings = load_settings(None, ("experiment.framework.sklearn._enable_optimized_mode=true",))

    assert ["_enable_optimized_mode" in sentence for sentence in without_effect(settings)] == [True]


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
