"""Counting over relay workers, and who owns which column."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenode.steering import occupancy
from edgenode.steering.occupancy import (
    Numbers,
    Occupancy,
    Register,
    columns_from_json,
    columns_to_json,
)
from edgenode.steering.table import Bind, RegionTargets, Service, Table, TableError, Target


def table(names: frozenset[tuple[str, str]]) -> Table:
    regions = tuple(
        RegionTargets(
            region, tuple(Target(w, "198.51.100.1", 80) for r, w in sorted(names) if r == region)
        )
        for region in sorted({region for region, _ in names})
    )
    return Table(1, "lon1", Bind(), (Service("web", (), "none", 1.0, 60.0, regions),))


def test_relay_workers_see_each_other_until_they_are_gone() -> None:
    register = Register(2)
    one, two = (Occupancy.shared(register.fd, row) for row in (0, 1))
    register.assign(table(frozenset({("fra", "fra-1")})), 1, 0)
    column = register.columns["fra", "fra-1"]
    one.take(column)
    two.take(column)
    two.take(column)
    two.give(column)
    assert (one.live(column), two.live(column)) == (2, 2)
    register.clear(1)
    assert one.live(column) == 1
    os.close(register.fd)


names = st.frozensets(st.tuples(st.sampled_from("ab"), st.sampled_from("uvwxyz")))


@given(st.lists(st.tuples(names, st.integers(0, 3), st.sets(st.integers(0, 12)))))
def test_nobody_is_given_a_column_that_another_may_count_in(
    story: list[tuple[frozenset[tuple[str, str]], int, set[int]]],
) -> None:
    numbers = Numbers()
    known: dict[tuple[str, str | None], int] = {}  # as a relay worker that got every message
    left: dict[tuple[str, str | None], int] = {}  # the table that missed it first
    for number, (wanted, behind, busy) in enumerate(story, start=1):
        applied = number - 1 - behind
        before = dict(numbers.given)
        numbers.release(applied, lambda column, busy=busy: column in busy)  # type: ignore[misc]
        for name in before.keys() - numbers.given.keys():
            assert before[name] not in busy
            assert left.pop(name) <= applied
        known.update(numbers.assign(table(wanted), number))
        given = numbers.given
        assert len(set(given.values())) == len(given)
        names = {*wanted, *((region, None) for region, _ in wanted)}
        known = {name: known[name] for name in names}  # it keeps what it needs
        for name in names:
            assert known[name] == given[name]
            left.pop(name, None)
        for name in given.keys() - names:
            left.setdefault(name, number)


def test_columns_are_used_again() -> None:
    numbers = Numbers()
    for number in range(1, 100):
        numbers.release(number - 1, lambda _: 0)
        numbers.assign(table(frozenset({("fra", f"fra-{number}")})), number)
    assert numbers.used <= 5


def test_too_many_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(occupancy, "NOWHERE", 3)
    numbers = Numbers()
    two = frozenset({("fra", "fra-1"), ("fra", "fra-2")})
    numbers.assign(table(two), 1)
    with pytest.raises(TableError, match="too many"):
        numbers.assign(table(two | {("fra", "fra-3")}), 2)
    assert numbers.assign(table(two), 2) == {}


def test_json() -> None:
    columns = {("fra", None): 0, ("fra", "fra-1"): 7}
    assert columns_from_json(columns_to_json(columns)) == columns  # type: ignore[arg-type]
