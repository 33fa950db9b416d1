"""``python -m flows.main`` and ``flows.rollback``: the flows from a terminal, with the servers that they need."""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows import prefect_server
from flows.production_steps import CHANGE_PRODUCTION, step_named
from flows.terminal import quiet

if TYPE_CHECKING:
    from settings import Settings

LOG = Path("reports") / "output.log"
LAST_REPORT = Path("reports") / "latest" / "report.json"

SUCCEEDED, FAILED, WRONG_SETTINGS, INTERRUPTED = 0, 1, 2, 130


def _common_parser(prog: str, description: str, succeeded: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog, description=description, epilog=f"Exit status: 0 {succeeded}, 1 failed, 2 wrong settings."
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
    parser.add_argument("--verbose", action="store_true", help="show all that Prefect and the SDK say, too")
    return parser


def _parser() -> argparse.ArgumentParser:
    parser = _common_parser(
        "python -m flows.main",
        "Train a model, compare it with the one in production, and release it when it is better.",
        "Promoted, NotPromoted, NotApproved, DataRejected or Compared",
    )
    parser.add_argument(
        "--fresh", action="store_true", help="train and profile anew, even where the same was done before"
    )
    parser.add_argument(
        "--stop-before",
        choices=("nothing", "registration"),
        default="nothing",
        help="registration: compare only, and end as Compared when the model is better",
    )
    parser.add_argument(
        "--debug",
        action="store_true",
        help="stop at breakpoints: verbose, one step at a time, without time limits",
    )
    instead = parser.add_argument_group("in place of a run").add_mutually_exclusive_group()
    instead.add_argument("--only", metavar="STEP", help="take one step alone, on what the last run's report says")
    instead.add_argument(
        "--dry-run", action="store_true", help="say what each step would create, change and use, and touch nothing"
    )
    instead.add_argument("--preflight", action="store_true", help="check that all is there that a run will need")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the flow, or what is asked for in its place; returns the exit status."""
    options = _parser().parse_args(arguments)
    options.verbose |= options.debug
    in_place_of_a_run = options.only or options.dry_run or options.preflight
    with_server = not in_place_of_a_run or step_named(options.only or "") in CHANGE_PRODUCTION
    return _carry_out(options, _in_place_of_a_run if in_place_of_a_run else _run, with_server=with_server)


def rollback_main(arguments: Sequence[str] | None = None) -> int:
    """Run the flow that brings a former model back; returns the exit status."""
    parser = _common_parser(
        "python -m flows.rollback",
        "Bring the model that was released before the present one, or another one, back into production.",
        "Restored",
    )
    parser.add_argument("--to", type=int, metavar="VERSION", help="version of the model (default: the former one)")
    return _carry_out(parser.parse_args(arguments), _roll_back, with_server=True)


def _carry_out(
    options: argparse.Namespace, action: Callable[[argparse.Namespace, Settings], bool], *, with_server: bool
) -> int:
    with _collecting_garbage_seldom():
        return _answer(options, action, with_server=with_server)


def _answer(
    options: argparse.Namespace, action: Callable[[argparse.Namespace, Settings], bool], *, with_server: bool
) -> int:
    from flows.scope import load_settings
    from settings import SettingsError

    try:
        settings = load_settings(options.settings, options.overrides)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return WRONG_SETTINGS
    try:
        server = prefect_server.use() if with_server else None
        if not options.verbose:
            # Before Prefect is imported. The API still gets the logs, so that they are in the UI.
            os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "ERROR")
            if "PYTHONBREAKPOINT" not in os.environ:
                sys.breakpointhook = _breakpoint_without_terminal
        if server is not None and (note := prefect_server.check(server)):
            print(f"note: {note}", file=sys.stderr)
        with nullcontext() if options.verbose else quiet(LOG):
            well = action(options, settings)
        return SUCCEEDED if well else FAILED
    except (prefect_server.PrefectServerError, OSError) as error:
        print(f"{error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED


@contextmanager
def _collecting_garbage_seldom() -> Iterator[None]:
    """Save what Python would spend on looking for cycles in what was imported, most of which lives to the end.

    That is a quarter of each import, and most of a second when the interpreter ends.
    """
    usual = gc.get_threshold()
    gc.set_threshold(50_000, 20, 20)
    try:
        yield
    finally:
        gc.set_threshold(*usual)
        gc.freeze()


def _in_place_of_a_run(options: argparse.Namespace, settings: Settings) -> bool:
    from flows.terminal import terminal
    from tasks.errors import MlopsError

    try:
        if options.preflight:
            from flows.preflight import check

            return check(settings)
        if options.dry_run:
            from flows.dry_run import show

            return show(settings, options.fresh)
        from flows.only import take

        take(options.only, settings, LAST_REPORT, options.verbose)
    except MlopsError as error:
        print(error, file=terminal())
        if error.log_tail:
            print(f"\n{error.log_tail}", file=terminal())
        return False
    return True


def _run(options: argparse.Namespace, _: Settings) -> bool:
    from flows.main import train_and_promote
    from flows.options import RunOptions

    run_options = RunOptions(
        settings_file=options.settings,
        overrides=tuple(options.overrides),
        fresh=options.fresh,
        stop_before=options.stop_before,
        verbose=options.verbose,
        debug=options.debug,
    )
    with without_heartbeats():
        return bool(train_and_promote(run_options, return_state=True).is_completed())


def _roll_back(options: argparse.Namespace, _: Settings) -> bool:
    from flows.options import RollbackOptions
    from flows.rollback import rollback

    rollback_options = RollbackOptions(
        to=options.to, settings_file=options.settings, overrides=tuple(options.overrides), verbose=options.verbose
    )
    with without_heartbeats():
        return bool(rollback(rollback_options, return_state=True).is_completed())


def without_heartbeats() -> AbstractContextManager[object]:
    """A server knows by them that a worker has lost a flow. Here a person looks on, and would wait for their end."""
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    return temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None})


def _breakpoint_without_terminal(*_: Any, **__: Any) -> None:
    """In place of a debugger, whose prompt nobody would see: what is printed goes to a file."""
    from tasks.errors import MlopsError

    line = sys._getframe(1)
    raise MlopsError(
        f"{Path(line.f_code.co_filename).name}, line {line.f_lineno}, has a breakpoint, and this run has no prompt.",
        "Run it with --debug, or take the breakpoint out.",
    )
