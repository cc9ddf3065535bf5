"""Counting by source: never too low, hardly ever too high, in memory that does not grow."""

from __future__ import annotations

import mmap
import os
from collections import Counter
from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenode.steering import sources
from edgenode.steering.sources import Sources


@pytest.fixture
def fd() -> Iterator[int]:
    made = sources.shared_file(3, 1000)
    yield made
    os.close(made)


def test_relay_workers_see_each_other_until_they_are_gone(fd: int) -> None:
    one, two = Sources.shared(fd, 0), Sources.shared(fd, 2)
    place = one.place(7)
    assert two.place(7) == place
    assert one.take(place, 1)
    assert two.take(place, 2)
    assert not two.take(place, 2)
    two.give(place)
    assert not one.take(place, 2)
    with mmap.mmap(fd, 0) as memory:
        sources.clear(memory, 2)
    assert one.take(place, 3)  # its own two, and this one
    assert not one.take(place, 3)
    one.charge(place, 5.5)
    assert two.paid(place) == 5.5


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 1), st.booleans()), max_size=60))
def test_a_count_is_exact_where_sources_are_few(story: list[tuple[int, int, bool]]) -> None:
    fd = sources.shared_file(2, 1)
    rows = Sources.shared(fd, 0), Sources.shared(fd, 1)
    os.close(fd)
    live: Counter[tuple[int, int]] = Counter()
    for source, row, comes in story:
        if comes:
            live[source, row] += 1
            # Another of the six has all three of its cells with a chance of one in 10^8.
            now = live[source, 0] + live[source, 1]
            place = rows[row].place(source)
            assert rows[row].take(place, now)
            rows[row].give(place)
            assert not rows[row].take(place, now - 1)
        elif live[source, row]:
            live[source, row] -= 1
            rows[row].give(rows[row].place(source))


def test_with_as_many_connections_as_there_may_be_hardly_anybody_is_counted_too_high() -> None:
    connections = 4096
    found = Sources.alone(connections)
    random = Random(1)
    high = [0, 0]
    for _ in range(connections):
        place = found.place(random.getrandbits(129))
        for too_many in (1, 2):
            high[too_many - 1] += not found.take(place, too_many)
            found.give(place)
        found.take(place, 1)
    # One in 90 at the very end: fewer before. By two, one in 50,000.
    assert high[0] < connections / 40
    assert high[1] <= 4


def test_nothing_in_the_hash_can_be_guessed() -> None:
    """Two nodes put the same sources into different cells."""
    one, two = Sources.alone(), Sources.alone()
    assert [one.place(source) for source in range(8)] != [two.place(source) for source in range(8)]
    places = [one.place(source) for source in range(4000)]
    assert max(places) < 2**36  # three of 12 bits, for 4,096 cells
    assert len(set(places)) == 4000
    for at in (0, 12, 24):  # 4,000 throws hit 63 % of 4,096
        assert 2300 < len({place >> at & 4095 for place in places}) < 2800
