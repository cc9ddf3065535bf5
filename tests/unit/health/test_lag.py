"""A failure is ours where our loop was late; the meter that tells."""

from __future__ import annotations

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenode.health.lag import StallMeter, was_late
from edgenode.health.observation import Observation

seconds = st.floats(0, 100)


@given(st.booleans(), seconds, seconds)
def test_only_failures_that_hung_on_time_are_late(
    timed: bool, stalled: float, limit: float
) -> None:
    assert not was_late(Observation(True, "", 0.1, timed), stalled, limit)
    assert not was_late(Observation(False, "refused", 0.1), stalled, limit)


@pytest.mark.parametrize(
    ("stalled", "limit", "late"),
    [(0.0, 0.5, False), (0.09, 0.5, False), (0.11, 0.5, True), (0.004, 0.01, False)],
)
def test_a_stall_counts_against_the_timeout(stalled: float, limit: float, late: bool) -> None:
    assert was_late(Observation(False, "no answer", limit, timed=True), stalled, limit) is late


async def test_meter_measures_a_blocked_loop_and_little_else() -> None:
    meter = StallMeter(time.monotonic)
    meter.start()
    try:
        await asyncio.sleep(0.2)
        assert meter.total() < 0.1
        before = meter.total()
        time.sleep(0.3)  # noqa: ASYNC251 (the very thing that is tested)
        during = meter.total() - before  # before the timer had its turn
        await asyncio.sleep(0.1)
        after = meter.total() - before
        assert 0.2 < during <= after < 0.5
    finally:
        meter.stop()
    await asyncio.sleep(0.1)
    assert meter.total() - before == pytest.approx(after, abs=0.02)
