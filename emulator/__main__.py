"""The commands of the emulator: ``python -m emulator --help``."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from emulator import daemon
from emulator.errors import StartupError

_NOT_RUNNING = 3  # as `systemctl status` and the LSB have it


def _default_state_directory() -> Path:
    return Path(os.environ.get("AZUREML_EMULATOR_STATE_DIR") or Path(__file__).resolve().parent.parent / ".emulator")


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"{text} is not a port: a number from 1 to 65535")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m emulator",
        description="An Azure Machine Learning workspace on this machine, for the unmodified SDK v1.",
    )
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--state-dir",
        type=lambda text: Path(text).expanduser().resolve(),
        default=_default_state_directory(),
        help="where everything is kept (default: .emulator in this repository, or $AZUREML_EMULATOR_STATE_DIR)",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, parents=[common], help=text, description=text)

    for name, text in (
        ("start", "start in the background and return when ready; a running one is found"),
        ("serve", "run in the foreground until Ctrl-C"),
    ):
        command = add(name, text)
        command.add_argument("--port", type=_port, help="of HTTPS (default: last time's, else a free one)")
        if name == "serve":
            command.add_argument("--failure-file", type=Path, help=argparse.SUPPRESS)
    add("stop", "stop it and everything that it started")
    add("status", "where it is, and what runs in it").add_argument("--json", action="store_true")
    environment = add("env", 'print what a shell needs to reach it: eval "$(python -m emulator env)"')
    environment.add_argument("--json", action="store_true", help="as a JSON object")
    environment.add_argument(
        "--directory",
        type=lambda text: Path(text).expanduser().resolve(),
        default=Path.cwd(),
        help="where scripts call Workspace.from_config(): gets .azureml/config.json unless it has one (default: here)",
    )
    logs = add("logs", "print its log")
    logs.add_argument("-f", "--follow", action="store_true")
    preempt = add("preempt", "take the nodes of a low-priority cluster away, as Azure may: its runs are queued again")
    failing = add("fail-creation", "have the next creation of a compute target fail, as when a quota is used up")
    for command in (preempt, failing):
        command.add_argument("compute", metavar="COMPUTE", help="name of the compute target")
        command.add_argument("--workspace", default="mlops", help="its workspace (default: mlops)")
    failing.add_argument(
        "--message",
        default="The request exceeds the quota of the subscription for this family of virtual machines.",
        help="what the provider says",
    )
    add("reset", "stop it and remove everything that it keeps")
    routes = add("routes", "list what it implements").add_mutually_exclusive_group()
    routes.add_argument("--write", action="store_true", help="bring the list in emulator/README.md up to date")
    routes.add_argument(
        "--check", action="store_true", help="fail when the list in emulator/README.md is not up to date"
    )
    return parser


def _serve(state_directory: Path, port: int | None) -> None:
    import asyncio
    import logging

    from emulator.client_environment import without_proxy, write_client_files
    from emulator.server import Emulator, serve

    daemon.become_the_emulator(state_directory)
    os.environ.update(without_proxy(os.environ))  # for runs and replicas, which inherit it
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")

    def ready(emulator: Emulator) -> None:
        write_client_files(state_directory, emulator.url)
        running = daemon.Running(
            pid=os.getpid(),
            url=emulator.url,
            scoring_url=emulator.scoring_url,
            state_directory=str(state_directory),
            client_id=emulator.identity.client_id,
            client_secret=emulator.identity.client_secret,
        )
        daemon.announce(running)

    try:
        asyncio.run(serve(state_directory, port, ready))
    finally:
        daemon.forget(state_directory)


def _find(state_directory: Path) -> daemon.Running:
    running = daemon.find(state_directory)
    if running is None:
        raise StartupError(f"no emulator runs with state directory {state_directory}: `python -m emulator start`.")
    return running


def _env(state_directory: Path, as_json: bool, directory: Path) -> None:
    from emulator.client_environment import client_environment, export_lines

    running = _find(state_directory)
    environment = client_environment(state_directory, running.url, running.client_id, running.client_secret)
    if as_json:
        print(json.dumps(environment, indent=2))
        return
    print(export_lines(environment), end="")
    _offer_workspace_config(directory)


def _offer_workspace_config(directory: Path) -> None:
    """`Workspace.from_config()` reads a file and no variable: put one where it looks, unless there is one."""
    from emulator.client_environment import find_workspace_config, names_default_workspace, workspace_config

    found = find_workspace_config(directory)
    if found is None:
        found = directory / ".azureml" / "config.json"
        try:
            found.parent.mkdir(exist_ok=True)
            found.write_text(workspace_config())
        except OSError as error:
            print(
                f"# {found} cannot be written ({error.strerror}): pass a path to Workspace.from_config().",
                file=sys.stderr,
            )
            return
        print(f"# wrote {found} for Workspace.from_config()", file=sys.stderr)
    elif not names_default_workspace(found.read_text()):
        print(f"# {found} names another workspace: Workspace.from_config() will ask for that one.", file=sys.stderr)


def _routes(write: bool, check: bool) -> None:
    from emulator import coverage

    if write:
        coverage.write()
    elif not check:
        print(coverage.coverage(), end="")
    elif not coverage.is_fresh():
        raise StartupError(f"the routes in {coverage.README} are stale: `python -m emulator routes --write`.")


def _status(state_directory: Path, as_json: bool) -> int:
    running = daemon.find(state_directory)
    if as_json:
        facts = {"running": running is not None, "state_directory": str(state_directory)}
        if running is not None:
            from emulator.status import read_status

            facts |= {"pid": running.pid, "url": running.url, "scoring_url": running.scoring_url}
            facts |= read_status(running)
        print(json.dumps(facts, indent=2))
    elif running is None:
        print(f"stopped (state directory {state_directory})")
    else:
        from emulator.status import read_status, render_status

        print(render_status(running, read_status(running)))
    return 0 if running is not None else _NOT_RUNNING


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    state_directory: Path = options.state_dir
    try:
        if options.command == "start":
            running, started = daemon.start(state_directory, options.port)
            print(f"emulator {'started' if started else 'is running already'} on {running.url}")
        elif options.command == "serve":
            _serve(state_directory, options.port)
        elif options.command == "stop":
            print("emulator stopped" if daemon.stop(state_directory) else "no emulator was running")
        elif options.command == "status":
            return _status(state_directory, options.json)
        elif options.command == "env":
            _env(state_directory, options.json, options.directory)
        elif options.command == "logs":
            log = state_directory / "emulator.log"
            if not log.exists():
                raise StartupError(f"there is no log in {state_directory}: `python -m emulator start` makes one.")
            return subprocess.call(["tail", "-n", "+1", *(["-f"] if options.follow else []), str(log)])
        elif options.command == "preempt":
            from emulator.status import preempt

            runs = preempt(_find(state_directory), options.compute, options.workspace)
            print(f"queued again: {', '.join(runs)}" if runs else f"no run was on {options.compute}")
        elif options.command == "fail-creation":
            from emulator.status import fail_next_creation

            fail_next_creation(_find(state_directory), options.compute, options.workspace, options.message)
            print(f"the next creation of {options.compute} fails")
        elif options.command == "reset":
            daemon.reset(state_directory)
            print(f"removed {state_directory}")
        elif options.command == "routes":
            _routes(options.write, options.check)
    except StartupError as error:
        if getattr(options, "failure_file", None):
            options.failure_file.write_text(str(error))
        print(f"emulator: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
