"""What is read of a record is what was written, by this version or another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenode.steering.handover import record
from edgenode.steering.handover.record import KEPT, RecordError, Row, check, decode, encode, pack

TIMES = st.floats(0, 1e9)
SIZES = st.integers(0, 2**63 - 1)
HELD = st.binary(max_size=64)
FLAGS = st.booleans()
NAMES = [name for name, value in Row()._asdict().items() if value is False]


def build(number: int, flags: list[bool], **values: Any) -> Row:
    values |= dict(zip(NAMES, flags, strict=True))
    return Row(number=number, **values)


ROWS = st.lists(
    st.builds(
        build,
        number=SIZES,
        flags=st.lists(FLAGS, min_size=len(NAMES), max_size=len(NAMES)),
        phase=st.sampled_from(["WAITING", "DIALING", "LIVE"]),
        service=st.text(max_size=8),
        client_host=st.sampled_from(["192.0.2.1", "2001:db8::1"]),
        client_port=st.integers(0, 65535),
        started=TIMES,
        connected=st.none() | TIMES,
        errors=st.lists(st.text(max_size=9), max_size=3).map(tuple),
        region=st.none() | st.text(max_size=5),
        moved_up=SIZES,
        held_up=HELD,
        held_down=HELD,
        more=st.none() | st.dictionaries(st.text(max_size=3), st.integers(0, 9), max_size=2),
    ),
    max_size=8,
)


@given(ROWS)
def test_round_trip(rows: list[Row]) -> None:
    head, found = decode(encode({"services": {}}, rows))
    assert found == rows
    assert head["services"] == {}


@given(ROWS, st.sets(st.sampled_from(Row._fields[8:]), max_size=5))
def test_another_versions_columns(rows: list[Row], missing: set[str]) -> None:
    """One that it does not have is at its default here; one that it has more is passed over."""
    missing -= {"held_up", "held_down"}
    columns = ["novelty", *(name for name in reversed(Row._fields) if name not in missing)]
    # Held bytes stand in the order of the rows, the user's side first, in every version.
    plain = []
    for row in rows:
        values = row._asdict() | {"novelty": 7}
        values |= {"held_up": len(row.held_up), "held_down": len(row.held_down)}
        plain.append([values[name] for name in columns])
    blob = b"".join(row.held_up + row.held_down for row in rows)
    head = {"format": record.FORMAT, "columns": columns, "needs": []}
    defaults = {name: value for name, value in Row()._asdict().items() if name in missing}
    assert decode(pack(head, plain, blob))[1] == [row._replace(**defaults) for row in rows]


@given(ROWS, st.data())
def test_damage_is_seen(rows: list[Row], data: st.DataObject) -> None:
    good = encode({}, rows)
    at = data.draw(st.integers(0, len(good) - 1))
    bad = good[:at] + bytes([good[at] ^ data.draw(st.integers(1, 255))]) + good[at + 1 :]
    with pytest.raises(RecordError):
        decode(bad)
    with pytest.raises(RecordError):
        decode(good[:at])


@given(st.binary(max_size=200))
def test_nonsense_is_refused(data: bytes) -> None:
    with pytest.raises(RecordError):
        decode(data)


def test_another_format_and_unknown_needs_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    needy = encode({}, [], needs=["telepathy"])
    with pytest.raises(RecordError, match="telepathy"):
        decode(needy)
    monkeypatch.setattr(record, "FORMAT", record.FORMAT + 1)
    other = encode({}, [])
    monkeypatch.undo()
    with pytest.raises(RecordError, match="format 2"):
        decode(other)


LIVE = Row(1, worker="fra-1", fd_up=0, fd_down=1)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda row: row._replace(fd_down=0), "named"),
        (lambda row: row._replace(fd_up=KEPT), "named"),
        (lambda row: row._replace(end_passed_up=True), "before all bytes"),
        (lambda row: row._replace(end_passed_down=True, eof_down=True, held_down=b"x"), "before"),
        (lambda row: row._replace(worker=None), "lacks a side"),
    ],
)
def test_what_does_not_agree_is_refused(change: Callable[[Row], Row], reason: str) -> None:
    check([LIVE], 2)
    with pytest.raises(RecordError, match=reason):
        check([change(LIVE)], 2)
    with pytest.raises(RecordError, match="twice"):
        check([LIVE, LIVE._replace(fd_up=2, fd_down=3)], 4)
