"""How far a long operation is: tasks say it, whoever shows it listens.

The operations run in the flow's thread or in threads of their own, so that listeners are called from any of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Listener = Callable[[str], None]

_listener: ContextVar[Listener | None] = ContextVar("progress_listener", default=None)


def report(detail: str) -> None:
    """Say what the current operation is at, in a few words: ``report("Running")``."""
    listener = _listener.get()
    if listener is not None:
        listener(detail)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Hear what is reported inside the block, in this context."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)
