"""The table of delays between cities: one source for every link of the lab."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from edgenode.lab.errors import LabError

MAX_RTT = 2000.0
_CITY = re.compile(r"[a-z][a-z0-9]{1,5}")


def _key(one: str, other: str) -> tuple[str, str]:
    return (one, other) if one <= other else (other, one)


@dataclass(frozen=True)
class Delays:
    """Round-trip times between cities, in milliseconds; the same in both directions."""

    source: str
    table: Mapping[tuple[str, str], float]

    @property
    def cities(self) -> frozenset[str]:
        return frozenset(city for pair in self.table for city in pair)

    def rtt(self, one: str, other: str) -> float:
        """Milliseconds there and back; 0 within a city.

        Raises LabError for a pair that the table does not hold.
        """
        if one == other:
            return 0.0
        try:
            return self.table[_key(one, other)]
        except KeyError:
            raise LabError(
                f"{self.source}: no round-trip between {one} and {other}: "
                f'add a line "{one}-{other}" = MILLISECONDS to [rtt]'
            ) from None

    def nearest(self, city: str, others: Iterable[str]) -> str:
        """Which of `others` is nearest to `city`; of equals the first in the alphabet."""
        return min(others, key=lambda other: (self.rtt(city, other), other))


def _pair(source: str, key: str) -> tuple[str, str]:
    cities = key.split("-")
    if len(cities) != 2 or not all(_CITY.fullmatch(city) for city in cities):
        raise LabError(
            f'{source}: [rtt] "{key}" is not a pair of cities: write it as "lon-nyc", '
            "each city 2 to 6 lower-case letters and digits"
        )
    if cities[0] == cities[1]:
        raise LabError(f'{source}: [rtt] "{key}": a city is no distance from itself; remove it')
    return _key(*cities)


def parse(text: str, source: str) -> Delays:
    """Read a table; `source` names it in errors.

    Raises LabError, naming the source and the pair, for text that is no TOML, an unknown key, a
    pair that is malformed or given twice, and a value that is no number above 0 and at most 2000.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise LabError(f"{source}: not a TOML file: {error}") from None
    rows = document.pop("rtt", None)
    if document:
        raise LabError(f"{source}: unknown key {next(iter(document))!r}: only [rtt] belongs here")
    if not isinstance(rows, dict) or not rows:
        raise LabError(f'{source}: the table [rtt] is missing: give lines like "lon-nyc" = 70')
    table: dict[tuple[str, str], float] = {}
    for key, value in rows.items():
        pair = _pair(source, key)
        if pair in table:
            raise LabError(f'{source}: [rtt] "{key}" is given twice, in either order: keep one')
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or not 0 < value <= MAX_RTT:
            raise LabError(
                f'{source}: [rtt] "{key}" = {value!r} is no delay: give the round-trip in '
                f"milliseconds, above 0 and at most {MAX_RTT:.0f}"
            )
        table[pair] = float(value)
    return Delays(source, table)


def load(path: Path) -> Delays:
    """Read a table from a file. Raises LabError as `parse` does, and for an unreadable file."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise LabError(f"{path}: the table of delays cannot be read: {reason}") from None
    return parse(text, str(path))


def built_in_text() -> str:
    """The text of the table that comes with the lab, to be copied and changed."""
    return resources.files("edgenode.lab").joinpath("delays.toml").read_text(encoding="utf-8")


def built_in() -> Delays:
    """The table that comes with the lab."""
    return parse(built_in_text(), "the built-in table of delays")
