"""``python -m flows.main``: the flow from a terminal, with the emulator and the Prefect server that it needs."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from flows import prefect_server
from flows.terminal import quiet

LOG = Path("reports") / "output.log"

SUCCEEDED, FAILED, WRONG_SETTINGS, INTERRUPTED = 0, 1, 2, 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m flows.main",
        description="Train a model, compare it with the one in production, and release it when it is better.",
        epilog="Exit status: 0 Promoted, NotPromoted or Compared, 1 failed, 2 wrong settings.",
    )
    parser.add_argument("--settings", type=Path, metavar="PATH", help="the settings (default: settings/settings.json)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help="one setting, as dotted.key=value; may be given several times",
    )
    parser.add_argument(
        "--stop-before", choices=("registration",), help="compare only, and end as Compared when the model is better"
    )
    parser.add_argument("--verbose", action="store_true", help="show all that Prefect and the SDK say, too")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the flow; returns the exit status."""
    options = _parser().parse_args(arguments)
    from flows.scope import load_settings
    from settings import SettingsError

    try:
        load_settings(options.settings, options.overrides)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return WRONG_SETTINGS
    try:
        prefect_server.use()
        if not options.verbose:
            # The API still gets the logs, so that they are in the UI.
            os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "ERROR")
        with nullcontext() if options.verbose else quiet(LOG):
            return _run(options)
    except (prefect_server.PrefectServerError, OSError) as error:
        print(f"{error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED


def _run(options: argparse.Namespace) -> int:
    from flows.main import train_and_promote
    from flows.options import RunOptions

    run_options = RunOptions(
        settings_file=options.settings,
        overrides=tuple(options.overrides),
        stop_before=options.stop_before,
        verbose=options.verbose,
    )
    state = train_and_promote(run_options, return_state=True)
    return SUCCEEDED if state.is_completed() else FAILED
