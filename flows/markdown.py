"""Markdown as GitHub and Prefect's UI show it, made line by line from text that may hold anything."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence


def section(title: str, lines: Iterable[str]) -> Iterator[str]:
    """A heading and what stands below it, line by line."""
    yield from ["", f"## {title}", "", *lines]


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """A table of plain text; whatever would be markup in a cell is escaped."""
    yield f"| {' | '.join(header)} |"
    yield f"|{'---|' * len(header)}"
    for row in rows:
        yield f"| {' | '.join(map(_cell, row))} |"


def _cell(text: str) -> str:
    return inline(text).replace("\\", "\\\\").replace("|", "\\|")


def inline(text: str) -> str:
    """The text on one line."""
    return " ".join(plain(text).split())


def link(text: str, address: str | None) -> str:
    """The text, which leads to the address where there is one."""
    return f"[{inline(text)}](<{address}>)" if address else inline(text)


def fenced(text: str, language: str = "") -> Iterator[str]:
    """A block of text that is shown as it is."""
    # A fence longer than any in the text: a log may hold markdown.
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    yield from [f"{fence}{language}", text.strip("\n"), fence]


def plain(text: str) -> str:
    """``text`` without the colours and other control sequences that a log may hold."""
    return re.sub(r"\x1b\[[0-?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f]", "", text)
