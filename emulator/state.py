"""What the emulator keeps: records in SQLite, everything bulky as files beside it, under one state directory."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import sqlite3
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from emulator.errors import ServiceError, StartupError, bad_request

Record = dict[str, Any]

_SCHEMA_VERSION = 2
_SCHEMA = """
CREATE TABLE IF NOT EXISTS records (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    collection TEXT NOT NULL, scope TEXT NOT NULL, key TEXT NOT NULL, body TEXT NOT NULL,
    UNIQUE (collection, scope, key));
CREATE TABLE IF NOT EXISTS counters (
    name TEXT NOT NULL, scope TEXT NOT NULL, value INTEGER NOT NULL, PRIMARY KEY (name, scope));
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


def utc_now() -> str:
    """The time as Azure ML writes it: ISO 8601, UTC."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f+00:00")


class Collection:
    """Records of one kind: JSON objects by (scope, key), in the order in which they were first put.

    ``scope`` is a workspace's id, or whatever else two records with the same key are told apart by. A record that is
    returned is the caller's own copy; it is kept only by :meth:`put`.
    """

    def __init__(self, state: State, name: str) -> None:
        self._state = state
        self._name = name

    def get(self, scope: str, key: str) -> Record | None:
        row = self._state.database.execute(
            "SELECT body FROM records WHERE collection = ? AND scope = ? AND key = ?", (self._name, scope, key)
        ).fetchone()
        return None if row is None else json.loads(row[0])

    def put(self, scope: str, key: str, body: Record) -> Record:
        """Insert or replace, durably when this returns; whoever waits for a change is woken."""
        self._state.database.execute(
            "INSERT INTO records (collection, scope, key, body) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (collection, scope, key) DO UPDATE SET body = excluded.body",
            (self._name, scope, key, json.dumps(body)),
        )
        self._state.notify()
        return body

    def update(self, scope: str, key: str, **changes: Any) -> Record:
        """Set top-level keys of a record that is there.

        Raises:
            KeyError: there is no such record.
        """
        record = self.get(scope, key)
        if record is None:
            raise KeyError(key)
        return self.put(scope, key, {**record, **changes})

    def delete(self, scope: str, key: str) -> bool:
        cursor = self._state.database.execute(
            "DELETE FROM records WHERE collection = ? AND scope = ? AND key = ?", (self._name, scope, key)
        )
        self._state.notify()
        return cursor.rowcount > 0

    def all(self, scope: str) -> list[Record]:
        """All records of the scope, oldest first."""
        rows = self._state.database.execute(
            "SELECT body FROM records WHERE collection = ? AND scope = ? ORDER BY seq", (self._name, scope)
        )
        return [json.loads(row[0]) for row in rows]

    def count(self, scope: str) -> int:
        """How many records the scope has."""
        return int(
            self._state.database.execute(
                "SELECT COUNT(*) FROM records WHERE collection = ? AND scope = ?", (self._name, scope)
            ).fetchone()[0]
        )

    def everything(self) -> list[tuple[str, str, Record]]:
        """(scope, key, record) of every scope, oldest first."""
        rows = self._state.database.execute(
            "SELECT scope, key, body FROM records WHERE collection = ? ORDER BY seq", (self._name,)
        )
        return [(row[0], row[1], json.loads(row[2])) for row in rows]


class State:
    """The state directory of one emulator. Used from the event loop's thread only.

    Raises:
        StartupError: the directory cannot be written, or the database in it is damaged or of another version.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._changed = asyncio.Event()
        self._stopping = False
        path = directory / "state.db"
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.database = sqlite3.connect(path, isolation_level=None)
            # FULL: what was acknowledged outlives a power cut, not only a killed process.
            self.database.execute("PRAGMA journal_mode = WAL")
            self.database.execute("PRAGMA synchronous = FULL")
            version = self.database.execute("PRAGMA user_version").fetchone()[0]
            problems = self.database.execute("PRAGMA quick_check").fetchall()
            if version not in (0, _SCHEMA_VERSION) or problems != [("ok",)]:
                found = f"version {version}" if problems == [("ok",)] else "damaged"
                raise StartupError(
                    f"the state file {path} is {found}, this emulator reads version {_SCHEMA_VERSION}: "
                    "move it away to keep it, or run `python -m emulator reset` to start afresh."
                )
            self.database.executescript(_SCHEMA)
            self.database.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
        except OSError as error:
            raise StartupError(
                f"the state directory {directory} cannot be written ({error.strerror}): "
                "choose another with --state-dir, or make it writable."
            ) from error
        except sqlite3.OperationalError as error:
            raise StartupError(
                f"the state file {path} cannot be opened ({error}): make it readable and writable, "
                "or choose another directory with --state-dir."
            ) from error
        except sqlite3.DatabaseError as error:
            raise StartupError(
                f"the state file {path} is damaged ({error}): "
                "move it away to keep it, or run `python -m emulator reset` to start afresh."
            ) from error

    def collection(self, name: str) -> Collection:
        return Collection(self, name)

    def delete_scope(self, scope: str) -> None:
        """Delete the records of every collection that have this scope."""
        self.database.execute("DELETE FROM records WHERE scope = ?", (scope,))
        self.notify()

    def folder(self, *parts: str) -> Path:
        """A directory below the state directory, made if it is not there.

        Raises:
            ServiceError: 400 for parts that lead out of the state directory.
        """
        path = self.directory.joinpath(*parts)
        if ".." in path.parts or not path.is_relative_to(self.directory):
            raise bad_request(f"'{'/'.join(parts)}' is not a name.")
        path.mkdir(parents=True, exist_ok=True)
        return path

    def next_number(self, name: str, scope: str) -> int:
        """1, 2, 3, …: never the same twice for (name, scope), even after deletions."""
        row = self.database.execute(
            "INSERT INTO counters (name, scope, value) VALUES (?, ?, 1) "
            "ON CONFLICT (name, scope) DO UPDATE SET value = value + 1 RETURNING value",
            (name, scope),
        ).fetchone()
        return int(row[0])

    def fact(self, name: str, make: Callable[[], str]) -> str:
        """A value that is made once and kept for the life of the state directory."""
        row = self.database.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        if row is not None:
            return str(row[0])
        value = make()
        self.set_fact(name, value)
        return value

    def set_fact(self, name: str, value: str) -> None:
        self.database.execute(
            "INSERT INTO facts (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            (name, value),
        )

    def secret(self, name: str) -> str:
        """A random secret of 256 bits, kept with the state."""
        return self.fact(f"secret:{name}", lambda: secrets.token_urlsafe(32))

    def notify(self) -> None:
        """Wake everybody in :meth:`wait_for`, so that each looks again."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def wait_for(self, predicate: Callable[[], bool], seconds: float) -> bool:
        """Wait until ``predicate()`` holds or ``seconds`` have passed; says whether it holds.

        This is what answers the SDK's polls late instead of early: its own pauses of five seconds then cost nothing.

        Raises:
            ServiceError: 503 when the emulator stops meanwhile.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while not predicate():
            remaining = deadline - loop.time()
            if self._stopping:
                raise ServiceError(503, "ServiceUnavailable", "The emulator is stopping: start it and ask again.")
            if remaining <= 0:
                return False
            # Not asyncio.wait_for: before Python 3.12, that loses a cancellation which comes together with the change.
            change = asyncio.ensure_future(self._changed.wait())
            try:
                await asyncio.wait((change,), timeout=remaining)
            finally:
                change.cancel()
        return True

    def end_waits(self) -> None:
        """End every :meth:`wait_for` now: the emulator stops."""
        self._stopping = True
        self.notify()

    def close(self) -> None:
        self.database.close()


def write_atomically(path: Path, content: str | bytes, mode: int = 0o600) -> None:
    """Replace ``path`` so that a reader sees the old content or the new one, never half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    data = content.encode() if isinstance(content, str) else content
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
