"""The penalty that upstreams keep for us, and what we do not to be hidden by it."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from edgenode.bgp.damping import (
    READVERTISEMENT,
    History,
    ceiling,
    charge,
    cost,
    present,
    reserve,
    wait,
)
from edgenode.bgp.levels import CAUTION, Level, more_cautious
from edgenode.config.schema import Damping

NORMAL, DEGRADED, DRAINED, WITHDRAWN = Level.NORMAL, Level.DEGRADED, Level.DRAINED, Level.WITHDRAWN
DEFAULT = Damping()
levels = st.sampled_from(list(Level))
times = st.floats(0, 5000)
dampings = st.builds(
    Damping,
    suppress=st.floats(2000, 20_000),
    reuse=st.floats(100, 1000),
    half_life=st.floats(60, 1800),
    max_suppress=st.floats(1800, 7200),
)
histories = st.builds(lambda share, at: (share, at), st.floats(0, 1), st.floats(0, 1e6))


def history(drawn: tuple[float, float], damping: Damping) -> History:
    return History(drawn[0] * ceiling(damping), drawn[1])


def test_a_proxy_that_flaps_waits_at_its_third_withdraw() -> None:
    now, kept, level = 100.0, History(), WITHDRAWN
    kept = charge(kept, level, NORMAL, now, DEFAULT)
    assert present(kept, now, DEFAULT) == 0, "a route that nobody knew costs nothing"
    waits = []
    for _ in range(3):
        now += 1
        kept = charge(kept, NORMAL, WITHDRAWN, now, DEFAULT)
        now += 1
        needed = wait(kept, WITHDRAWN, NORMAL, now, DEFAULT, 0.0)
        waits.append(round(needed.seconds / 60, 1))
        now += needed.seconds
        kept = charge(kept, WITHDRAWN, NORMAL, now, DEFAULT)
    assert waits == [0, 0, 11.0]
    assert "damping: penalty" in needed.reason


def test_hold_down_counts_from_the_withdraw_and_damping_off_is_off() -> None:
    off = replace_damping(enabled=False)
    kept = charge(History(), NORMAL, WITHDRAWN, 50.0, off)
    assert wait(kept, WITHDRAWN, NORMAL, 60.0, off, 30.0).seconds == pytest.approx(20.0)
    assert wait(kept, WITHDRAWN, NORMAL, 80.0, off, 30.0).seconds == 0
    for _ in range(20):
        kept = charge(kept, NORMAL, WITHDRAWN, 90.0, off)
    assert wait(kept, WITHDRAWN, NORMAL, 90.0, off, 0.0).seconds == 0


def replace_damping(**changes: object) -> Damping:
    return Damping.model_validate(changes)


def test_with_a_low_threshold_the_worst_past_is_waited_out_for_max_suppress() -> None:
    """Cisco's own 2000 leaves no room at all; still nobody hides a route for longer than that."""
    low = replace_damping(suppress=2000)
    worst = History(ceiling(low), 0.0)
    assert wait(worst, WITHDRAWN, NORMAL, 0.0, low, 0.0).seconds == low.max_suppress
    assert wait(worst, WITHDRAWN, NORMAL, 3000.0, low, 0.0).seconds == low.max_suppress - 3000
    assert wait(worst, WITHDRAWN, NORMAL, low.max_suppress, low, 0.0).seconds == 0
    once = charge(History(), NORMAL, WITHDRAWN, 0.0, low)
    assert wait(once, WITHDRAWN, NORMAL, 0.0, low, 0.0).seconds == pytest.approx(1274, abs=5)


def test_a_penalty_halves_and_is_forgotten() -> None:
    kept = charge(History(), NORMAL, WITHDRAWN, 0.0, DEFAULT)
    assert present(kept, 900.0, DEFAULT) == pytest.approx(500)
    assert cost(WITHDRAWN, NORMAL, 500.0, DEFAULT) == READVERTISEMENT
    assert cost(WITHDRAWN, NORMAL, 374.0, DEFAULT) == 0


@given(dampings, histories, levels, levels, times, times)
def test_more_caution_never_waits(
    damping: Damping,
    drawn: tuple[float, float],
    before: Level,
    after: Level,
    later: float,
    hold: float,
) -> None:
    kept = replace(history(drawn, damping), withdrawn_at=drawn[1])
    assume(not more_cautious(before, after))
    assert wait(kept, before, after, kept.at + later, damping, hold).seconds == 0


@given(dampings, histories, levels, levels, times)
def test_damping_waits_no_longer_than_max_suppress(
    damping: Damping, drawn: tuple[float, float], before: Level, after: Level, later: float
) -> None:
    kept = history(drawn, damping)
    needed = wait(kept, before, after, kept.at + later, damping, 0.0).seconds
    assert 0 <= needed <= max(0.0, damping.max_suppress - later) + 1e-6


@given(dampings, histories, levels, levels, times)
def test_who_has_waited_waits_no_more(
    damping: Damping, drawn: tuple[float, float], before: Level, after: Level, later: float
) -> None:
    kept = history(drawn, damping)
    now = kept.at + later
    needed = wait(kept, before, after, now, damping, 0.0).seconds
    assert wait(kept, before, after, now + needed + 1e-3, damping, 0.0).seconds == 0


@given(dampings, st.floats(0, 1), st.floats(0, 1), levels, levels, times)
def test_a_worse_past_is_never_of_advantage(
    damping: Damping, one: float, other: float, before: Level, after: Level, later: float
) -> None:
    better, worse = (history((share, 0.0), damping) for share in sorted((one, other)))
    for kept, than in pairwise((worse, better)):
        assert present(kept, later, damping) >= present(than, later, damping)
        charged, cheaper = (charge(h, before, after, later, damping) for h in (kept, than))
        assert charged.penalty >= cheaper.penalty
        waits = [wait(h, before, after, later, damping, 0.0).seconds for h in (kept, than)]
        assert waits[0] >= waits[1] - 1e-6


@given(
    st.floats(4500, 20_000),
    st.lists(st.tuples(st.floats(0, 2000), levels), max_size=40),
)
def test_what_we_do_by_ourselves_never_hides_a_route(
    suppress: float, wanted: list[tuple[float, Level]]
) -> None:
    """Whatever is wanted, and however quickly: who waits as told never passes the threshold."""
    damping = replace_damping(suppress=suppress)
    kept, level, now = History(), WITHDRAWN, 0.0
    for later, want in wanted:
        now += later
        if wait(kept, level, want, now, damping, 0.0).seconds == 0:
            kept = charge(kept, level, want, now, damping)
            level = want
        left = present(kept, now, damping) + reserve(level)
        assert left <= suppress + 1e-6, "and the way down is always paid for"


@given(dampings, histories, st.floats(-1e5, 0))
def test_a_clock_that_stands_or_goes_back_changes_nothing(
    damping: Damping, drawn: tuple[float, float], back: float
) -> None:
    kept = history(drawn, damping)
    assert present(kept, kept.at + back, damping) == kept.penalty
    assert charge(kept, NORMAL, WITHDRAWN, kept.at + back, damping).at == kept.at


@given(levels)
def test_the_reserve_is_the_dearest_way_down(level: Level) -> None:
    way = CAUTION[: CAUTION.index(level) + 1][::-1]
    spent = sum(cost(a, b, 1e9, DEFAULT) for a, b in pairwise(way))
    assert reserve(level) == spent
