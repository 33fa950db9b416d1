"""How the requests of an endpoint are split among its versions."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.errors import ServiceError
from emulator.services.configuration import complete, traffic
from emulator.services.traffic import TrafficSplit

pytestmark = pytest.mark.unit

VERSION = {"environmentImageRequest": {"environment": {"name": "scoring"}, "modelIds": ["m:1"]}, "numReplicas": 1}


def endpoint(before: dict[str, Any] | None = None, **versions: dict[str, Any]) -> dict[str, Any]:
    whole = {name: {**VERSION, **version} for name, version in versions.items()}
    body = {"computeType": "AKSENDPOINT", "computeName": "cluster", "versions": whole}
    return complete(body, "local", before)


def test_the_first_version_is_the_default_and_takes_all() -> None:
    made = endpoint(blue={"trafficPercentile": None})
    assert made["versions"]["blue"]["isDefault"] is True
    assert traffic(made) == {"blue": 100}


def test_the_default_takes_what_is_left() -> None:
    made = endpoint(
        blue={"trafficPercentile": 20},
        green={"trafficPercentile": 40, "isDefault": True, "type": "Control"},
    )
    assert traffic(made) == {"blue": 20, "green": 80}


def test_authentication_is_that_of_the_endpoint() -> None:
    made = endpoint(blue={"authEnabled": False})
    assert made["authEnabled"] is made["versions"]["blue"]["authEnabled"] is True


@pytest.mark.parametrize(
    ("versions", "said"),
    [
        ({"blue": {"trafficPercentile": 60}, "green": {"trafficPercentile": 41}}, r"sum to 101 \(blue 60, green 41\)"),
        ({"blue": {"trafficPercentile": "half"}}, "percentile of 'half'"),
        ({"blue": {"type": "Canary"}}, "Control or Treatment"),
        ({"blue": {"type": "Control"}, "green": {"type": "Control"}}, "one control version at most"),
        ({"blue": {"isDefault": True}, "green": {"isDefault": True}}, "one default version, not 2"),
        ({f"v-{number}": {} for number in range(7)}, "at most 6 versions, not 7"),
        ({"Blue": {}}, "'Blue' is not a name"),
        ({"blue": {"maxQueueWaitMs": -1}}, "Version 'blue': maxQueueWaitMs is -1"),
        ({}, "needs a version"),
    ],
)
def test_versions_that_cannot_be_are_refused(versions: dict[str, Any], said: str) -> None:
    with pytest.raises(ServiceError, match=said):
        endpoint(**versions)


def test_the_default_cannot_be_taken_away() -> None:
    before = endpoint(blue={}, green={"trafficPercentile": 10})
    with pytest.raises(ServiceError, match="one default version, not 0"):
        endpoint(before, green=before["versions"]["green"])


@given(st.lists(st.integers(0, 100), min_size=1, max_size=6).filter(lambda weights: 0 < sum(weights) <= 100))
def test_of_as_many_requests_as_the_weights_sum_to_each_version_gets_exactly_its_weight(weights: list[int]) -> None:
    wanted = {str(number): float(weight) for number, weight in enumerate(weights)}
    split = TrafficSplit(wanted)
    got = Counter(split.next() for _ in range(sum(weights)))
    assert {version: got[version] for version in wanted} == wanted


def test_a_small_share_is_spread_and_not_bunched() -> None:
    split = TrafficSplit({"blue": 90.0, "green": 10.0})
    turns = [split.next() for _ in range(100)]
    assert all(turns[start : start + 10].count("green") == 1 for start in range(0, 100, 10))
