"""Imports what only later steps need, while the flow waits for Azure and would be idle."""

from __future__ import annotations

import atexit
import importlib
import threading
from collections.abc import Sequence
from contextlib import suppress

# A second and a half of a promoting run, if they were imported one after the other when they are needed.
_AFTER_TRAINING = ("matplotlib.figure", "matplotlib.backends.backend_agg", "azureml.dataprep.rslex", "aiohttp")
_SECONDS = 5


def import_ahead(modules: Sequence[str] = _AFTER_TRAINING) -> None:
    """Begin to import modules, in a thread beside the caller's.

    A module that cannot be imported is left to the step that needs it, which says so.
    """

    def import_all() -> None:
        for module in modules:
            with suppress(ImportError):
                importlib.import_module(module)

    # An interpreter that ends in the middle of an import may wait for it for ever, so the end waits for the thread. But
    # not for ever either: a Ctrl-C that meets the main thread inside an import leaves Python's import lock taken.
    thread = threading.Thread(target=import_all, name="import ahead", daemon=True)
    thread.start()
    atexit.register(thread.join, _SECONDS)
