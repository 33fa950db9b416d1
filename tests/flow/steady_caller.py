"""A user of a service, who goes on calling it whatever is done to it."""

from __future__ import annotations

import threading

import requests


class SteadyCaller:
    """Calls a service again and again from a thread, and keeps what went wrong."""

    def __init__(self, url: str, key: str, body: bytes) -> None:
        self.answered = 0
        self.failures: list[str] = []
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._call, args=(url, key, body))

    def _call(self, url: str, key: str, body: bytes) -> None:
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        with requests.Session() as session:
            while not self._stopped.wait(0.02):
                try:
                    answer = session.post(url, data=body, headers=headers, timeout=30)
                    if answer.status_code == 200:
                        self.answered += 1
                    else:
                        self.failures.append(f"HTTP {answer.status_code}: {answer.text[:200]}")
                except requests.RequestException as error:
                    self.failures.append(str(error))

    def __enter__(self) -> SteadyCaller:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()
