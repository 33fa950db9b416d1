"""Which handler of the emulator answers which path."""

from __future__ import annotations

from typing import Any

import pytest

from emulator.errors import ServiceError
from emulator.routing import Request, Route, RouteTable

pytestmark = pytest.mark.unit

WORKSPACE = "/subscriptions/S/resourceGroups/G/providers/Microsoft.MachineLearningServices/workspaces/W"


async def handler(_: Request) -> Any:
    raise AssertionError("routing calls nobody")


TABLE = RouteTable(
    [
        Route("GET", "/{WS}/computes/{compute}", handler),
        Route("GET", "/{WS}/computes/special", handler),
        Route("PUT", "/store/{container}/{blob:path}", handler),
        Route("POST", "/history/v1.0/{WS}/runs:query", handler),
    ]
)


def test_the_workspace_and_the_names_of_the_template_are_captured() -> None:
    route, captured = TABLE.find("GET", f"{WORKSPACE}/computes/cpu")
    assert route.template == "/{WS}/computes/{compute}"
    assert captured == {"subscription": "S", "resource_group": "G", "workspace": "W", "compute": "cpu"}


@pytest.mark.parametrize(
    "path",
    [
        WORKSPACE.lower() + "/computes/cpu",
        WORKSPACE.replace("/", "//") + "/computes/cpu",
        WORKSPACE + "/computes/cpu/",
        WORKSPACE + "/computes/cpu?api-version=2021-07-01",
    ],
)
def test_case_doubled_slashes_a_last_slash_and_the_query_make_no_difference(path: str) -> None:
    assert TABLE.find("GET", path)[1]["compute"] == "cpu"


def test_the_first_of_two_that_match_answers() -> None:
    assert TABLE.find("GET", f"{WORKSPACE}/computes/special")[0].template.endswith("{compute}")


def test_a_path_parameter_takes_slashes_and_keeps_its_case() -> None:
    assert TABLE.find("PUT", "/STORE/Blobs/A/b%20c.TXT")[1] == {"container": "Blobs", "blob": "A/b c.TXT"}


def test_an_encoded_slash_stays_in_its_segment() -> None:
    assert TABLE.find("GET", f"{WORKSPACE}/computes/a%2Fb")[1]["compute"] == "a/b"


def test_dots_and_colons_of_a_template_stand_for_themselves() -> None:
    assert TABLE.find("POST", f"/history/v1.0{WORKSPACE}/runs:query")
    with pytest.raises(ServiceError):
        TABLE.find("POST", f"/history/v1x0{WORKSPACE}/runs:query")


@pytest.mark.parametrize("blob", ["../../state.db", "a/%2e%2e/%2E%2E/b", "a/..%2fb", "..", "a%00b"])
def test_a_name_that_climbs_up_is_refused(blob: str) -> None:
    with pytest.raises(ServiceError, match="is not a name") as refused:
        TABLE.find("PUT", f"/store/blobs/{blob}")
    assert refused.value.status == 400


@pytest.mark.parametrize("blob", ["...", "a..b", "..a/b.."])
def test_dots_within_a_name_are_part_of_it(blob: str) -> None:
    assert TABLE.find("PUT", f"/store/blobs/{blob}")[1]["blob"] == blob


@pytest.mark.parametrize(("method", "path"), [("DELETE", f"{WORKSPACE}/computes/cpu"), ("GET", "/teleport%20me")])
def test_what_is_unknown_is_named_and_not_emulated(method: str, path: str) -> None:
    with pytest.raises(ServiceError) as refused:
        TABLE.find(method, path)
    assert (refused.value.status, refused.value.code) == (501, "NotEmulated")
    assert f"{method} {path.replace('%20', ' ')}" in refused.value.message
