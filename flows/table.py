"""Tables on the terminal: of what would be done, and of what was checked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TextIO

import rich.box
import rich.console
from rich.table import Table
from rich.text import Text

_WIDTH_OF_A_LOG = 10_000  # lines of a log are never broken, so that they can be searched


def show_table(headings: Sequence[str], rows: Iterable[Sequence[str]], stream: TextIO) -> None:
    """Write a table to ``stream``, wrapped at words when that is a terminal."""
    console = rich.console.Console(
        file=stream, highlight=False, width=None if stream.isatty() else _WIDTH_OF_A_LOG, markup=False
    )
    table = Table(box=rich.box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)
