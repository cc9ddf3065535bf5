"""How the commands that look print what they have: tables, words with their colour, figures."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

COLOURS = {
    "normal": "green",
    "degraded": "yellow",
    "drained": "yellow",
    "withdrawn": "red",
    "up": "green",
    "down": "red",
    "good": "green",
    "dead": "red",
    "one-way": "red",
    "black-hole": "red",
    "stale": "red",
    "full": "red",
    "chosen": "green",
    "Established": "green",
}
"""Any other word is yellow."""

NONE = "-"
"""Of a figure that there is not."""


def table(*columns: str) -> Table:
    """An empty one."""
    made = Table(box=None, pad_edge=False, header_style="bold", title_justify="left")
    for column in columns:
        made.add_column(column, overflow="fold")
    return made


def row(into: Table, *cells: str | Text) -> None:
    """Add a row. What others wrote (a check's output, an IPv6 URL) is no markup."""
    into.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in cells))


def coloured(word: str) -> Text:
    """A word for a state."""
    return Text(word, COLOURS.get(word, "yellow"))


def yes(value: bool, right: str, wrong: str) -> Text:
    """One of two words."""
    return Text(right, "green") if value else Text(wrong, "red")


def milliseconds(value: float | None) -> str:
    """A round-trip."""
    return NONE if value is None else f"{value:.1f} ms"


def share(value: float | None) -> str:
    """A ratio, in per cent."""
    return NONE if value is None else f"{value:.1%}"


def size(value: float) -> str:
    """Bytes, with three digits at most: "0 B", "1.2 GiB"."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if value < 999.5 or unit == "TiB":
            break
        value /= 1024
    return f"{value:.0f} {unit}" if unit == "B" or value >= 99.5 else f"{value:.1f} {unit}"


def figure(value: int | None) -> str:
    """A count."""
    return NONE if value is None else str(value)


def limits(soft: int | None, hard: int | None) -> str:
    """``soft / hard``; empty where there is none."""
    return (
        "" if soft is None and hard is None else " / ".join(figure(each) for each in (soft, hard))
    )


def some(names: Sequence[str], most: int = 5) -> str:
    """The first of the names, and how many more there are."""
    left = len(names) - most
    return ", ".join(names[:most]) + (f" and {left} more" if left > 0 else "")


def more(count: int, what: str) -> str:
    """What is said of lines that are not shown."""
    return f"… and {count} more {what}: --limit 0 shows all, --json too"
