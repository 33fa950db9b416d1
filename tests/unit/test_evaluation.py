"""Which model production serves, as far as that can be decided without Azure."""

from __future__ import annotations

from types import SimpleNamespace as Thing  # stands for the SDK's objects, of which a few attributes are read

import pytest

from tasks.evaluation import disagreement, served_models

pytestmark = pytest.mark.unit


def version(models: list[str], traffic: float | None, default: bool | None = None) -> Thing:
    return Thing(models=models, traffic_percentile=traffic, is_default=default)


def test_a_service_serves_its_models() -> None:
    assert served_models(Thing(models=["m:1"])) == ["m:1"]
    assert served_models(Thing(models=None)) == []
    assert served_models(None) == []


def test_of_an_endpoint_the_default_version_is_production() -> None:
    old, new = version(["m:1"], 90, True), version(["m:2"], 10)
    assert served_models(Thing(versions={"a": old, "b": new}, models=None)) == ["m:1"]
    assert served_models(Thing(versions={"b": new, "a": old})) == ["m:1"]


def test_service_and_tags_that_agree_are_not_worth_a_word() -> None:
    assert disagreement("prod", "m", 2, [2]) == ()
    assert disagreement("prod", "m", None, []) == ()


@pytest.mark.parametrize(
    ("served", "tagged", "sentence"),
    [
        (
            3,
            [2],
            "service 'prod' serves version 3, but the tag stage=production is on version 2 of m; "
            "what the service serves counts",
        ),
        (
            3,
            [],
            "service 'prod' serves version 3, but the tag stage=production is on no version of m; "
            "what the service serves counts",
        ),
        (
            3,
            [2, 3],
            "service 'prod' serves version 3, but the tag stage=production is on version 2 and 3 of m; "
            "what the service serves counts",
        ),
        (
            None,
            [2],
            "there is no service 'prod', but the tag stage=production is on version 2 of m, "
            "which is taken for production's",
        ),
    ],
)
def test_service_and_tags_that_disagree_are_reported(served: int | None, tagged: list[int], sentence: str) -> None:
    assert disagreement("prod", "m", served, tagged) == (sentence,)
