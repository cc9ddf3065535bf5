"""When an attempt is late, and how many may be raced."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenode.steering.hedge import UNKNOWN, Budget, patience
from edgenode.steering.memory import Path


def after(*samples: float) -> float:
    """What is late after these connect times."""
    path = Path()
    for sample in samples:
        path.learn(sample)
    return patience(path.usual, path.deviation)


def test_patience_is_about_what_is_usual() -> None:
    assert after() == UNKNOWN
    assert after(*[0.1] * 30) == pytest.approx(0.125, abs=0.001)
    assert after(*[0.001] * 30) == pytest.approx(0.006, abs=0.001)
    # A path that sways is given more.
    assert after(*[0.1, 0.14] * 30) > 0.18


@given(st.lists(st.floats(0.0001, 3.0), min_size=1, max_size=50))
def test_what_was_seen_again_and_again_is_not_late(samples: list[float]) -> None:
    assert after(*samples, *[samples[-1]] * 60) > samples[-1]


steps = st.lists(
    st.tuples(st.sampled_from(("connection", "race", "retry")), st.floats(0, 0.5)), max_size=300
)


@given(steps, st.floats(0, 1), st.floats(0, 20))
def test_races_are_a_share_of_the_connections_and_a_floor(
    story: list[tuple[str, float]], share: float, floor: float
) -> None:
    """In each stretch of time, whatever came before."""
    budget, now = Budget(share, floor, 50.0), 50.0
    moments = [(now, 0, 0)]
    connections = races = 0
    for what, later in story:
        now += later
        if what == "connection":
            budget.earn(now)
            connections += 1
        elif what == "retry":
            budget.spend()
        elif budget.allows(now):
            budget.spend()
            races += 1
        for began, had, raced in moments:
            most = share * (connections - had) + floor * (now - began) + max(1.0, floor * 10)
            assert races - raced <= most + 1e-6
        moments.append((now, connections, races))


def test_nobody_is_raced_where_nothing_is_given() -> None:
    budget = Budget(0.0, 0.0, 0.0)
    for second in range(100):
        budget.earn(float(second))
    assert not budget.allows(1000.0)


def test_every_fifth_connection_may_be_raced_without_a_floor() -> None:
    budget, races = Budget(0.2, 0.0, 0.0), 0
    for _ in range(1000):
        budget.earn(0.0)
        if budget.allows(0.0):
            budget.spend()
            races += 1
    assert races == pytest.approx(200, abs=1)
