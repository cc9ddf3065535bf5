"""Times as operators write them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from edgenode.cli.times import parse_given, parse_past, parse_time, spell

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC).timestamp()
HOUR = 3600.0


@pytest.mark.parametrize(
    ("text", "future", "hours"),
    [
        ("18:30", True, 6.5),
        ("11:00", True, 23),
        ("11:00", False, -1),
        ("18:00", False, -18),
        ("2026-03-01T13:00", True, 1),
        ("2026-03-01T13:00+02:00", True, -1),
        ("2026-03-02", True, 12),
    ],
)
def test_a_time_is_utc_and_the_next_or_the_last(text: str, future: bool, hours: float) -> None:
    assert parse_time(text, NOW, future=future) == NOW + hours * HOUR


def test_how_long_ago() -> None:
    assert parse_past("90m", NOW) == NOW - 1.5 * HOUR
    assert parse_past("11:00", NOW) == NOW - HOUR
    assert parse_past("30", NOW) == NOW - 30, "as durations are elsewhere"


def test_a_plain_number_is_one_of_seconds() -> None:
    assert [parse_given(text) for text in ("30", "1.5", "90s", " 2 ")] == [30.0, 1.5, 90.0, 2.0]
    for wrong in ("", "-1", "1e3", "1,5", "٣", "."):
        with pytest.raises(ValueError, match="write a duration such as"):
            parse_given(wrong)


@pytest.mark.parametrize("text", ["soon", "", "25:00", "2026-13-01"])
def test_what_is_no_time_is_said_to_be_none(text: str) -> None:
    with pytest.raises(ValueError, match="write a time such as"):
        parse_time(text, NOW, future=True)


def test_durations_are_said_as_people_do() -> None:
    said = [spell(s) for s in (-3, 4.4, 119, 720, 3 * HOUR + 300, 24 * HOUR, 52 * HOUR)]
    assert said == ["0 s", "4 s", "119 s", "12 min", "3 h 5 min", "24 h", "2 d 4 h"]
