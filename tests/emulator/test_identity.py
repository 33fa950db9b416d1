"""Who may talk to the emulator, asked as MSAL, azure-identity and an intruder would."""

from __future__ import annotations

import sqlite3
import time
from typing import TYPE_CHECKING

import jwt
import pytest

from tests.conftest import RunningEmulator
from tests.emulator.conftest import Client

if TYPE_CHECKING:
    from azureml.core import Workspace

pytestmark = pytest.mark.emulator


def signing_key(emulator: RunningEmulator) -> str:
    with sqlite3.connect(emulator.state_directory / "state.db") as database:
        row = database.execute("SELECT value FROM facts WHERE name = 'secret:token_signing_key'").fetchone()
    return str(row[0])


def bearer(claims: dict[str, object], key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {jwt.encode(claims, key, algorithm='HS256')}"}


def test_a_request_without_a_token_is_refused_in_azures_words(client: Client) -> None:
    refused = client.call("GET", "/subscriptions", headers={"Authorization": None})
    assert refused.status_code == 401
    assert refused.json()["error"]["code"] == "AuthenticationFailed"
    assert "no bearer token" in refused.json()["message"]
    assert refused.json()["details"] == []


def test_a_token_that_has_expired_is_refused(client: Client, emulator: RunningEmulator) -> None:
    key, now = signing_key(emulator), int(time.time())
    assert client.call("GET", "/subscriptions", headers=bearer({"oid": "me", "exp": now + 60}, key)).status_code == 200
    refused = client.call("GET", "/subscriptions", headers=bearer({"oid": "me", "exp": now - 60}, key))
    assert refused.status_code == 401
    assert "expired" in refused.json()["message"]


@pytest.mark.parametrize("algorithm", ["HS256", "none"])
def test_a_token_that_somebody_else_signed_is_refused(algorithm: str, client: Client) -> None:
    claims = {"oid": "me", "exp": int(time.time()) + 60}
    token = jwt.encode(claims, "another key" * 4 if algorithm != "none" else None, algorithm=algorithm)
    refused = client.call("GET", "/subscriptions", headers={"Authorization": f"Bearer {token}"})
    assert refused.status_code == 401


@pytest.mark.parametrize("secret", ["wrong", "gehe\u00efm", ""])
def test_a_wrong_secret_gets_no_token_and_the_way_to_the_right_one(
    secret: str, client: Client, emulator: RunningEmulator
) -> None:
    form = {
        "grant_type": "client_credentials",
        "client_id": emulator.environment["AZURE_CLIENT_ID"],
        "client_secret": secret,
    }
    refused = client.call("POST", "/adfs/oauth2/token", data=form)
    assert refused.status_code == 401
    assert refused.json()["error"] == "invalid_client"
    assert "python -m emulator env" in refused.json()["error_description"]


def test_users_cannot_log_in(client: Client) -> None:
    form = {"grant_type": "password", "username": "ada", "password": "lovelace"}
    refused = client.call("POST", "/adfs/oauth2/token", data=form)
    assert (refused.status_code, refused.json()["error"]) == (400, "unsupported_grant_type")


def test_the_sdk_reports_a_wrong_secret_as_a_failed_login(workspace: Workspace, emulator: RunningEmulator) -> None:
    from azureml.core.authentication import ServicePrincipalAuthentication

    login = ServicePrincipalAuthentication(
        "adfs", emulator.environment["AZURE_CLIENT_ID"], "wrong", _enable_caching=False
    )
    with pytest.raises(Exception, match="is not this emulator's"):
        type(workspace).get(
            workspace.name, auth=login, subscription_id=workspace.subscription_id, resource_group="mlops"
        )


def test_a_route_that_is_unknown_says_its_name_to_those_who_are_logged_in_or_not(client: Client) -> None:
    unknown = client.call("POST", "/subscriptions/1/teleport")
    assert unknown.status_code == 501
    assert unknown.json()["error"]["code"] == "NotEmulated"
    assert "POST /subscriptions/1/teleport" in unknown.json()["message"]
