"""A turn to release that Prefect's server cannot give: a sentence that names the server, and what to do."""

from __future__ import annotations

import json
import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import prefect
import pytest
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from flows.turn import limit_name, turn_on
from settings.workspace import WorkspaceTarget
from tasks.errors import MlopsError

pytestmark = pytest.mark.unit


def workspace(name: str) -> WorkspaceTarget:
    return WorkspaceTarget(
        cloud="azure", name=name, subscription_id="s", resource_group="g", location="l", friendly_name=None
    )


LIMIT = {
    "id": "6a2f5f0e-6b8c-4f0b-9d7a-0d9f3c1b2a11",
    "created": "2026-01-01T00:00:00Z",
    "updated": "2026-01-01T00:00:00Z",
    "active": True,
    "name": "release s g ml",
    "limit": 1,
    "active_slots": 0,
    "slot_decay_per_second": 0,
}


@contextmanager
def server_that_answers(status: int, *, only_to_acquire: bool) -> Iterator[str]:
    """Answers every call with ``status``, or only the one that takes the turn; yields its address."""

    class Answer(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            refused = self.path.endswith("/increment-with-lease") or not only_to_acquire
            version = self.path.endswith("/admin/version")
            body = json.dumps(prefect.__version__ if version else LIMIT).encode()
            needs_no_csrf_token = 404 if "/csrf-token" in self.path else 200
            self.send_response(status if refused else needs_no_csrf_token)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = answer  # noqa: N815 - http.server's names

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/api"
        finally:
            server.shutdown()
            thread.join()


def refusal(url: str) -> MlopsError:
    target = workspace(f"ml-{uuid.uuid4()}")  # Prefect keeps a connection for each limit
    with (
        temporary_settings({PREFECT_API_URL: url, PREFECT_CLIENT_MAX_RETRIES: 0}),
        pytest.raises(MlopsError) as refused,
        turn_on(target, 1),
    ):
        pytest.fail("a turn was given")
    assert url in refused.value.message
    assert f"concurrency limit '{limit_name(target)}'" in refused.value.message
    assert "Nothing was released" in refused.value.next_step
    return refused.value


@pytest.mark.parametrize("only_to_acquire", [False, True])
@pytest.mark.parametrize(
    ("status", "advice"), [(401, "PREFECT_API_AUTH_STRING"), (403, "PREFECT_API_KEY"), (500, "Look at its log.")]
)
def test_a_server_that_refuses_is_named_with_its_status(status: int, advice: str, only_to_acquire: bool) -> None:
    with server_that_answers(status, only_to_acquire=only_to_acquire) as url:
        error = refusal(url)

    assert f"(HTTP {status})" in error.message
    assert advice in error.next_step


def test_a_server_that_is_not_there_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        error = refusal(f"http://127.0.0.1:{taken.getsockname()[1]}/api")

    assert "onnect" in error.message
    assert "See that it runs and that PREFECT_API_URL names it." in error.next_step
