"""What a page of docs/ shows, for tests that type it."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.conftest import REPOSITORY
from tests.flow.conftest import Checkout


def commands_of(page: str) -> list[str]:
    """The commands of a page of docs/, as somebody types them one after the other."""
    text = (REPOSITORY / "docs" / page).read_text()
    return "".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL)).splitlines()


def at_the_prompt(command: str) -> str:
    """A command of some page, for a checkout without a virtual environment: the one of the tests takes its place."""
    return command.replace(".venv/bin/python", sys.executable)


@contextmanager
def breakpoints(checkout: Checkout, *places: tuple[str, str]) -> Iterator[None]:
    """``breakpoint()`` before a line of the checkout's files, for a while."""
    kept = {path: (checkout.directory / path).read_text() for path, _ in places}
    for path, line in places:
        text = (checkout.directory / path).read_text()
        indent = re.search(rf"^( *){re.escape(line)}", text, re.MULTILINE)
        assert indent, f"{path} has no line {line}"
        (checkout.directory / path).write_text(text.replace(line, f"breakpoint()\n{indent[1]}{line}", 1))
    try:
        yield
    finally:
        for path, text in kept.items():
            (checkout.directory / path).write_text(text)
