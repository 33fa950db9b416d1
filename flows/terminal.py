"""The terminal that people read, kept apart from what libraries print."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

_terminal: TextIO | None = None


def terminal() -> TextIO:
    """Where progress is shown: the real terminal while :func:`quiet`, else the standard output."""
    return _terminal or sys.stdout


@contextmanager
def quiet(log: Path) -> Iterator[None]:
    """Send all that anybody prints, native libraries included, to ``log`` instead; only :func:`terminal` is left.

    The SDK writes to the standard streams from many places and threads, so that nothing less than the file
    descriptors themselves would keep the progress readable.

    Raises:
        OSError: the log cannot be written.
    """
    global _terminal
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(descriptor) for descriptor in (1, 2)]
    with log.open("w") as sink:
        _terminal = os.fdopen(os.dup(kept[0]), "w", encoding=sys.stdout.encoding, buffering=1)
        try:
            for descriptor in (1, 2):
                os.dup2(sink.fileno(), descriptor)
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for descriptor, original in zip((1, 2), kept, strict=True):
                os.dup2(original, descriptor)
                os.close(original)
            _terminal.close()
            _terminal = None
