"""Client and server of Prefect need not be of one version, but the server should not be the older one."""

from __future__ import annotations

import pytest

from flows.prefect_server import PrefectServer, PrefectServerError, versions_apart

pytestmark = pytest.mark.unit

TEAM, OWN = PrefectServer("https://prefect.example.org/api"), PrefectServer("http://127.0.0.1:4200/api", pid=1)


@pytest.mark.parametrize("theirs", ["3.8.8", "3.9.0"])
def test_the_same_or_a_newer_server_is_no_matter(theirs: str) -> None:
    assert versions_apart(theirs, "3.8.8", TEAM) is None


@pytest.mark.parametrize(
    ("server", "update"), [(TEAM, "install prefect==3.8.8 there and restart it"), (OWN, "run `make down`")]
)
def test_an_older_server_is_said_with_how_to_bring_it_up_to_date(server: PrefectServer, update: str) -> None:
    note = versions_apart("3.4.0", "3.8.8", server)

    assert note is not None
    assert "is of version 3.4.0, and this project of 3.8.8" in note
    assert update in note


@pytest.mark.parametrize("theirs", ["2.20.9", "4.0.0"])
def test_another_major_version_is_an_error(theirs: str) -> None:
    with pytest.raises(PrefectServerError, match="do not understand each other"):
        versions_apart(theirs, "3.8.8", TEAM)
