"""Tables of names and figures, which never fold: they are read by eye, by `grep` and by `awk`.

Where a terminal is narrow, reasons go below their rows, then the least important columns go.
A pipe has no width, each row is one line there; unless COLUMNS gives it one, as watch(1) does.
"""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.text import Text

from edgenode.cli.options import console

_GAP = 2
_INDENT = "    "


def columns() -> int | None:
    """On how many a row is to fit; None: on as many as it needs."""
    given = sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit()
    return console.width if given else None


@dataclass(frozen=True)
class Column:
    """Of a table. The one with the highest `rank` goes first where it is narrow; 0: it stays."""

    head: str
    rank: int = 0


@dataclass(frozen=True)
class _Row:
    cells: tuple[Text, ...]
    why: str


class Rows:
    """A table, with a reason at the end of each row where `why` is its heading."""

    def __init__(self, *columns: Column | str, why: str | None = None) -> None:
        self._columns = [Column(each) if isinstance(each, str) else each for each in columns]
        self._why = why
        self._rows: list[_Row] = []

    def add(self, *cells: str | Text, why: str = "") -> None:
        """A row. What others wrote (a check's output, an IPv6 URL) is no markup."""
        texts = tuple(Text(cell) if isinstance(cell, str) else cell for cell in cells)
        self._rows.append(_Row(texts, " ".join(why.split())))

    def print(self) -> None:
        """For whoever reads standard output."""
        for line in self.lines(columns()):
            console.print(line)

    def lines(self, width: int | None) -> Iterator[Text]:
        """As they are printed on so many columns; None: on as many as are needed. Pure."""
        kept, widths = self._fitting(width)
        heads = [Text(self._columns[column].head, "bold") for column in kept]
        left = None if width is None else width - sum(widths) - _GAP * len(widths)
        beside = [each for each in self._rows if each.why and _fits(each.why, left)]
        if self._why and beside and _fits(self._why, left):
            heads.append(Text(self._why, "bold"))
        yield _line(heads, widths)
        for each in self._rows:
            cells = [each.cells[column] for column in kept]
            if _fits(each.why, left):
                yield _line([*cells, Text(each.why)], widths)
                continue
            yield _line(cells, widths)
            yield from map(Text, _below(each.why, width))

    def _fitting(self, width: int | None) -> tuple[list[int], list[int]]:
        """The columns that stay, and how wide each is."""
        widths = [
            max(len(column.head), *(each.cells[number].cell_len for each in self._rows), 0)
            for number, column in enumerate(self._columns)
        ]
        kept = list(range(len(widths)))
        leaving = sorted(
            (number for number in kept if self._columns[number].rank),
            key=lambda number: self._columns[number].rank,
        )
        while (
            width is not None
            and leaving
            and sum(widths[number] for number in kept) + _GAP * (len(kept) - 1) > width
        ):
            kept.remove(leaving.pop())
        return kept, [widths[number] for number in kept]


def _fits(text: str, left: int | None) -> bool:
    return left is None or not text or Text(text).cell_len <= left


def _line(cells: Sequence[Text], widths: Sequence[int]) -> Text:
    """The cells side by side; the last is as long as it is."""
    line = Text()
    for number, cell in enumerate(cells):
        line.append_text(cell)
        if number < len(widths):
            line.append(" " * (widths[number] - cell.cell_len + _GAP))
    line.rstrip()
    return line


def _below(why: str, width: int | None) -> list[str]:
    """A reason on lines of its own; names and addresses in it are not torn apart."""
    return textwrap.wrap(
        why,
        width=max(width or 0, 20),
        initial_indent=_INDENT,
        subsequent_indent=_INDENT,
        break_long_words=False,
        break_on_hyphens=False,
    )
