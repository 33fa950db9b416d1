"""Messages through a notification block of Prefect, to a webhook that works and to some that do not."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.blocks.system import Secret
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Completed, Crashed

from flows.main import train_and_promote
from flows.notifications import AUTOMATION, Message, send, tell_of

pytestmark = pytest.mark.flow

MESSAGE = Message("mlops: NotPromoted: production keeps diabetes-ridge version 1.", "**NotPromoted**\n\n- mse is worse")


class Webhook(ThreadingHTTPServer):
    """Keeps what it is sent, and refuses what is posted to /refused."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _WebhookHandler)
        self.received: list[dict[str, Any]] = []

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{path}"


class _WebhookHandler(BaseHTTPRequestHandler):
    server: Webhook

    def do_POST(self) -> None:
        self.server.received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(403 if self.path.startswith("/refused") else 200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Tests need no access log."""


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    with Webhook() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def prefect_api(prefect_server: dict[str, str]) -> Iterator[None]:
    with temporary_settings({PREFECT_API_URL: prefect_server["PREFECT_API_URL"]}):
        yield


def save_block(name: str, url: str) -> str:
    json_data = {"title": "{{subject}}", "text": "{{body}}"}
    CustomWebhookNotificationBlock(name=name, url=url, json_data=json_data).save(name, overwrite=True)
    return f"custom-webhook/{name}"


def test_a_message_reaches_the_webhook_of_the_named_block(webhook: Webhook) -> None:
    block = save_block("team", webhook.url("team"))

    assert send(MESSAGE, block) is None

    assert webhook.received == [{"title": MESSAGE.subject, "text": MESSAGE.text}]


def test_a_webhook_that_refuses_is_said_without_its_secret_address(webhook: Webhook) -> None:
    block = save_block("refusing", webhook.url("refused/token-of-the-team"))

    problem = send(MESSAGE, block)

    assert problem is not None
    assert problem.startswith("Nobody was told: Prefect block 'custom-webhook/refusing' did not send the message (")
    assert "403" in problem
    assert "token-of-the-team" not in problem


def test_a_webhook_that_is_not_there_is_said() -> None:
    problem = send(MESSAGE, save_block("gone", "http://127.0.0.1:9/token-of-the-team"))

    assert problem is not None
    assert "ConnectError" in problem
    assert "token-of-the-team" not in problem


def test_a_block_that_is_missing_is_said() -> None:
    problem = send(MESSAGE, "slack-webhook/nobody-made-it")

    assert problem is not None
    assert "slack-webhook/nobody-made-it" in problem


def test_a_block_that_cannot_send_is_said() -> None:
    Secret(value="x").save("no-notification", overwrite=True)

    problem = send(MESSAGE, "secret/no-notification")

    assert problem is not None
    assert "does not send notifications" in problem


def test_the_server_tells_of_a_run_that_crashed(webhook: Webhook) -> None:
    block = save_block("crashes", webhook.url("crashes"))
    tell_of(["Crashed"], block)
    tell_of(["Crashed", "NotPromoted"], block)

    with get_client(sync_client=True) as client:
        assert [each.name for each in client.read_automations_by_name(AUTOMATION)] == [AUTOMATION]
        run = client.create_flow_run(train_and_promote, name="killed")
        deadline = time.monotonic() + 60
        while not webhook.received:  # the server takes notice of a new automation in its own time
            assert time.monotonic() < deadline
            client.set_flow_run_state(run.id, Crashed(message="exit code -9"), force=True)
            time.sleep(1)

    assert webhook.received[0]["title"] == "Crashed: train-and-promote/killed"
    assert "**Crashed**: exit code -9" in webhook.received[0]["text"]
    assert f"/{run.id})" in webhook.received[0]["text"]


def test_the_server_tells_of_an_outcome_by_its_name(webhook: Webhook) -> None:
    tell_of(["Crashed", "NotPromoted"], save_block("outcomes", webhook.url("outcomes")))

    with get_client(sync_client=True) as client:
        run = client.create_flow_run(train_and_promote, name="no-better")
        deadline = time.monotonic() + 60
        while not webhook.received:
            assert time.monotonic() < deadline
            client.set_flow_run_state(run.id, Completed(name="NotPromoted", message="mse is worse"), force=True)
            time.sleep(1)

    assert webhook.received[0]["title"] == "NotPromoted: train-and-promote/no-better"
    assert "**NotPromoted**: mse is worse" in webhook.received[0]["text"]


def test_a_crash_block_that_is_missing_is_an_error() -> None:
    with pytest.raises(ValueError, match="nobody-made-it"):
        tell_of(["Crashed"], "slack-webhook/nobody-made-it")
