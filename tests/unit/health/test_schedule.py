"""Laws of the probes' times."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenode.health.schedule import SPREAD, first_probe, next_probe

times = st.floats(0, 1e7)
intervals = st.floats(0.01, 3600)
jitters = st.floats(0, 0.5)
draws = st.floats(0, 1, exclude_max=True)


@given(times, intervals, draws)
def test_first_probe_is_soon(now: float, interval: float, draw: float) -> None:
    assert now <= first_probe(now, interval, draw) <= now + min(interval, SPREAD)


@given(times, st.floats(0, 1000), intervals, jitters, draws)
def test_next_probe_is_ahead_and_within_an_interval_and_its_jitter(
    origin: float, passed: float, interval: float, jitter: float, draw: float
) -> None:
    now = origin + passed
    at = next_probe(origin, interval, jitter, now, draw)
    tiny = 1e-6
    assert now < at <= now + interval * (1 + jitter) + tiny


@given(intervals, jitters, st.integers(0, 2**32), st.floats(0, 0.4))
def test_nothing_drifts_and_nothing_is_probed_twice(
    interval: float, jitter: float, seed: int, share: float
) -> None:
    """However long the probes take (less than a slot) and the jitter is drawn: one a slot."""
    draw = random.Random(seed).random
    at = origin = first_probe(100.0, interval, draw())
    for slot in range(1, 200):
        at = next_probe(origin, interval, jitter, at + share * interval, draw())
        assert origin + slot * interval - 1e-6 <= at
        assert at <= origin + (slot + jitter) * interval + 1e-6


def test_missed_slots_are_skipped_and_not_made_up_for() -> None:
    assert next_probe(10.0, 1.0, 0.0, 17.3, 0.0) == pytest.approx(18.0)
    assert next_probe(10.0, 1.0, 0.0, 18.0, 0.0) == pytest.approx(19.0)


def test_many_checks_do_not_start_together() -> None:
    draw = random.Random(1).random
    starts = sorted(first_probe(0.0, 1.0, draw()) for _ in range(1000))
    assert max(sum(a <= s < a + 0.01 for s in starts) for a in starts) < 40
