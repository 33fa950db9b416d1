"""A terminal with somebody at the keyboard, for what asks whether it has one: a debugger."""

from __future__ import annotations

import os
import select
import subprocess
import time
from pathlib import Path

_SECONDS = 120


class PseudoTerminal:
    """Runs a command in a terminal of its own, types into it, and reads what it shows."""

    def __init__(self, command: list[str], directory: Path, environment: dict[str, str]) -> None:
        self._ours, theirs = os.openpty()
        self._process = subprocess.Popen(
            command,
            cwd=directory,
            env={**environment, "COLUMNS": "200"},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        self.shown = ""
        self._read = 0

    def __enter__(self) -> PseudoTerminal:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._ours)

    def wait_for(self, text: str) -> str:
        """What is shown up to ``text``, from where the last wait ended."""
        deadline = time.monotonic() + _SECONDS
        while (found := self.shown.find(text, self._read)) < 0:
            assert time.monotonic() < deadline, f"in vain: waited for {text!r} after {self.shown[self._read :]}"
            assert self._receive() or self._process.poll() is None, f"ended without {text!r}: {self.shown}"
        start, self._read = self._read, found + len(text)
        return self.shown[start : self._read]

    def poll(self) -> None:
        """Take what is shown now, so that the command is never held up."""
        self._receive()

    def type(self, line: str) -> None:
        os.write(self._ours, f"{line}\n".encode())

    def wait_for_end(self) -> int:
        """The exit status."""
        while self._process.poll() is None:
            self._receive()
        while self._receive():
            pass
        return self._process.returncode

    def _receive(self) -> bool:
        ready, _, _ = select.select([self._ours], [], [], 0.2)
        try:
            received = os.read(self._ours, 65536) if ready else b""
        except OSError:  # the other end is closed
            return False
        self.shown += received.decode(errors="replace").replace("\r\n", "\n")
        return bool(received)
