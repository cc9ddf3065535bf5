"""Points in time as operators write them. Pure: the present is passed in."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta

from edgenode.config.values import parse_duration

RIGHT = 'write a time such as "18:30", "2026-03-01T18:30" (UTC) or "2026-03-01T18:30+02:00"'


def parse_given(text: str) -> float:
    """Seconds of a duration on the command line, where a plain number is one of seconds.

    Raises ValueError with a sentence that says what would be right.
    """
    plain = text.strip().replace(".", "", 1)
    return parse_duration(f"{text.strip()}s" if plain.isascii() and plain.isdecimal() else text)


def parse_time(text: str, now: float, *, future: bool) -> float:
    """Seconds of the epoch. Raises ValueError with a sentence that says what would be right.

    A time of day alone is the next such time or, with `future` False, the last one.
    """
    present = datetime.fromtimestamp(now, UTC)
    try:
        of_day = time.fromisoformat(text)
    except ValueError:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise ValueError(RIGHT) from None
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    moment = datetime.combine(present.date(), of_day, of_day.tzinfo or UTC)
    if future and moment <= present:
        moment += timedelta(days=1)
    elif not future and moment > present:
        moment -= timedelta(days=1)
    return moment.timestamp()


def parse_past(text: str, now: float) -> float:
    """A time, or how long ago ("2h"). Raises ValueError likewise."""
    try:
        return now - parse_given(text)
    except ValueError:
        try:
            return parse_time(text, now, future=False)
        except ValueError:
            raise ValueError(f'{RIGHT}, or how long ago, such as "2h"') from None


def shown(moment: float) -> str:
    """Date and time."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def spell(seconds: float) -> str:
    """A duration as people say it: "4 s", "12 min", "3 h 5 min", "2 d 4 h"."""
    whole = max(0, round(seconds))
    if whole < 120:
        return f"{whole} s"
    minutes = round(whole / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"
