"""Runs a user's script in the environment of a run, and flushes its metrics however it ends.

``run.log()`` queues; a process that just ends loses what is queued. This file is executed by the interpreter of the
run's environment, so that it knows the standard library only: ``python run_script.py SCRIPT [ARGUMENT ...]``.
"""

from __future__ import annotations

import os
import runpy
import sys
from types import TracebackType

_NOT_THE_USERS = (os.path.abspath(__file__), runpy.__file__, "<frozen runpy>")  # noqa: PTH100


def _users_part(traceback: TracebackType | None) -> TracebackType | None:
    """The traceback as it would be if the script had been started directly."""
    while traceback is not None and traceback.tb_frame.f_code.co_filename in _NOT_THE_USERS:
        traceback = traceback.tb_next
    return traceback


def _flush_metrics() -> None:
    core = sys.modules.get("azureml.core.run")
    if core is not None:  # a script that has not imported the SDK has logged nothing
        core.Run.get_context(allow_offline=False).flush()


def main() -> int:
    script = sys.argv[1]
    sys.argv = sys.argv[1:]
    sys.path[0] = os.path.dirname(os.path.abspath(script))  # noqa: PTH100, PTH120
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit:
        raise
    except BaseException as error:  # noqa: BLE001 - shown as Python shows it, without the frames of this file
        error = error.with_traceback(_users_part(error.__traceback__))
        sys.excepthook(type(error), error, error.__traceback__)
        return 1
    finally:
        _flush_metrics()
    return 0


if __name__ == "__main__":
    sys.exit(main())
