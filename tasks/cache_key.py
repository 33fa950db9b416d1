"""What a result depends on, as one key: equal keys mean that doing it again would give the same. Pure but for reading.

The key becomes part of the name under which Azure ML keeps the result (the id of a run, the name of a profile), so that
it is found again from whichever machine the flow is started next, and there is no cache beside Azure that could lie.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

_LENGTH = 16

# Options of an experiment that change nothing about what a run produces.
_WITHOUT_EFFECT = frozenset({"run_tags", "max_run_duration_seconds"})


def cache_key(kind: str, **inputs: Any) -> str:
    """16 hexadecimal digits for what ``inputs`` say; each has to be a JSON value.

    Args:
        kind: of the result, so that a training and a tuning with the same inputs are two.
        inputs: by name; the order does not matter.
    """
    text = json.dumps({"kind": kind, **inputs}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:_LENGTH]


def relevant_settings(experiment: Mapping[str, Any]) -> dict[str, Any]:
    """The options of an experiment (as JSON) that its result depends on."""
    return {name: value for name, value in experiment.items() if name not in _WITHOUT_EFFECT}


def content_of(directory: Path, is_excluded: Callable[[str], bool] = lambda _: False) -> dict[str, str]:
    """SHA-256 of each file below ``directory``, by its path in it.

    Args:
        is_excluded: says of an absolute path whether the file is left out of the snapshot, as ``.amlignore`` has it.
    """
    return {
        path.relative_to(directory).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts and not is_excluded(str(path.resolve()))
    }
