"""Prefect servers that cannot be used as they are: each is answered with a sentence that says what to do."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests

from tests.flow.conftest import Checkout

pytestmark = pytest.mark.flow


@contextmanager
def server_of_version(version: str, behind: str) -> Iterator[str]:
    """The Prefect server ``behind``, in front of which something tells another version."""

    class Front(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)) or None
            url = behind + self.path.removeprefix("/api")
            request = urllib.request.Request(url, body, {"Content-Type": "application/json"}, method=self.command)
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    status, content = answer.status, answer.read()
            except urllib.error.HTTPError as error:
                status, content = error.code, error.read()
            if self.path == "/api/admin/version":
                content = json.dumps(version).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = _answer  # noqa: N815 - http.server's names

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Front) as front:
        threading.Thread(target=front.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{front.server_address[1]}/api"
        front.shutdown()


def said_by(checkout: Checkout, command: tuple[str, ...], **environment: str) -> str:
    """What a command that cannot do its work says."""
    done = Checkout(checkout.directory, checkout.environment | environment).command(*command)
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    return done.stderr


def test_a_server_of_another_major_version_is_named_with_what_to_install(
    checkout: Checkout, prefect_server: dict[str, str]
) -> None:
    with server_of_version("2.20.9", prefect_server["PREFECT_API_URL"]) as api_url:
        said = said_by(checkout, ("flows.main",), PREFECT_API_URL=api_url)

    assert f"the Prefect server on {api_url} is of version 2.20.9, and this project of 3.8.8, which do not" in said
    assert "install prefect==3.8.8 there and restart it" in said


def test_an_address_without_api_is_named(checkout: Checkout, prefect_server: dict[str, str]) -> None:
    without_api = prefect_server["PREFECT_API_URL"].removesuffix("/api")

    said = said_by(checkout, ("flows.main",), PREFECT_API_URL=without_api)

    assert f"{without_api}, does not answer" in said


def test_a_worker_without_a_pool_says_to_deploy_first(checkout: Checkout, prefect_server: dict[str, str]) -> None:
    # Other tests deploy to the same server.
    pool = f"{prefect_server['PREFECT_API_URL']}/work_pools/local-process"
    assert requests.delete(pool, timeout=30).status_code in (204, 404)

    said = said_by(checkout, ("flows.deployments", "worker"))

    assert "there is no work pool 'local-process' on this Prefect server: run `make deploy` first." in said
