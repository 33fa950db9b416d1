"""What the emulator implements, told by its own route tables: the list in README.md is generated from here."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from emulator.errors import StartupError
from emulator.server import Emulator
from emulator.service import Service
from emulator.state import State

README = Path(__file__).resolve().parent / "README.md"
_BEGIN = "<!-- routes: written by `python -m emulator routes --write` -->\n"
_END = "<!-- end of routes -->\n"


def coverage() -> str:
    """Every route of every service, in Markdown."""
    with tempfile.TemporaryDirectory() as directory:
        state = State(Path(directory))
        sections = [_section(service) for service in Emulator(state, port=0, scoring_port=0).all_services]
        state.close()
    return "\n".join(sections)


def _section(service: Service) -> str:
    module = sys.modules[type(service).__module__]
    title = type(service).__name__.removesuffix("Service")
    about = (module.__doc__ or "").partition("\n\n")[0].strip()
    methods: dict[str, list[str]] = {}
    for route in service.routes():
        methods.setdefault(route.template, []).append(route.method)
    width = max(len(" ".join(names)) for names in methods.values())
    rows = "".join(f"{' '.join(names):<{width}}  {template}\n" for template, names in methods.items())
    return f"### {title}\n\n{about}\n\n```text\n{rows}```\n"


def _parts(readme: str) -> tuple[str, str, str]:
    before, begin, rest = readme.partition(_BEGIN)
    written, end, after = rest.partition(_END)
    if not begin or not end:
        raise StartupError(
            f"{README} has no place for the routes: put back the lines {_BEGIN.strip()} and {_END.strip()}."
        )
    return before, written, after


def is_fresh() -> bool:
    """Whether README.md lists what is implemented.

    Raises:
        StartupError: README.md has lost the lines between which the list stands.
    """
    return _parts(README.read_text())[1] == f"\n{coverage()}\n"


def write() -> None:
    """Bring the list in README.md up to date.

    Raises:
        StartupError: README.md has lost the lines between which the list stands.
    """
    before, _, after = _parts(README.read_text())
    README.write_text(f"{before}{_BEGIN}\n{coverage()}\n{_END}{after}")
