"""A stand-in for GitHub's REST API: the comments on pull requests, ten to a page."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

AUTHOR = "github-actions[bot]"
_PAGE = 10


class GitHubApi:
    """Its address, the comments of all pull requests, and what it answers to who may not write (401, 403) or 0."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.comments: list[dict[str, Any]] = []
        self.refuses = 0

    def add(self, body: str, author: str = AUTHOR) -> dict[str, Any]:
        number = len(self.comments) + 1
        comment = {"id": number, "body": body, "user": {"login": author}, "html_url": f"{self.url}/comment/{number}"}
        self.comments.append(comment)
        return comment


@contextmanager
def github_api() -> Iterator[GitHubApi]:
    """The API on a free port of this machine, for as long as it is used."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = int((re.search(r"[?&]page=(\d+)", self.path) or ["", "1"])[1])
            shown = api.comments[(page - 1) * _PAGE : page * _PAGE]
            more = page * _PAGE < len(api.comments)
            following = f'<{api.url}{self.path.split("&page=")[0]}&page={page + 1}>; rel="next"'
            self._answer(200, shown, {"Link": following} if more else {})

        def do_POST(self) -> None:
            self._answer(201, api.add(self._body()))

        def do_PATCH(self) -> None:
            comment = api.comments[int(self.path.rsplit("/", 1)[1]) - 1]
            comment["body"] = self._body()
            self._answer(200, comment)

        def _body(self) -> str:
            return str(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["body"])

        def _answer(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
            allowed = self.headers["Authorization"] == "Bearer a-token" and not api.refuses
            data = json.dumps(content if allowed else {"message": "Resource not accessible by integration"}).encode()
            self.send_response(status if allowed else api.refuses or 401)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    api = GitHubApi(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
