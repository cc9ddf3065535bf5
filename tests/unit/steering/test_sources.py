"""Counting by source: never too low, hardly ever too high, in memory that does not grow."""

from __future__ import annotations

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
    assert (one.take(7), two.take(7), two.take(7), one.take(8)) == (1, 2, 3, 1)
    two.give(7)
    assert one.take(7) == 3
    sources.clear(fd, 2)
    assert one.take(7) == 3  # its own two, and this one
    one.charge(7, 5.5)
    assert two.paid(7) == 5.5


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
            assert rows[row].take(source) == live[source, 0] + live[source, 1]
        elif live[source, row]:
            live[source, row] -= 1
            rows[row].give(source)


def test_with_as_many_connections_as_there_may_be_hardly_anybody_is_counted_too_high() -> None:
    connections = 4096
    found = Sources.alone(connections)
    random = Random(1)
    high = [found.take(random.getrandbits(150)) - 1 for _ in range(connections)]
    assert min(high) >= 0
    # One in 90 at the very end: fewer before. By two, one in 50,000.
    assert sum(one > 0 for one in high) < connections / 40
    assert sum(one > 1 for one in high) <= 4


def test_nothing_in_the_hash_can_be_guessed() -> None:
    """Two nodes put the same sources into different cells."""
    one, two = Sources.alone(), Sources.alone()
    assert [one.cells(source) for source in range(8)] != [two.cells(source) for source in range(8)]
    seen = {cell for source in range(4000) for cell in one.cells(source)}
    assert len(seen) > 6000  # of 12,288, spread evenly
