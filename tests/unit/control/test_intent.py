"""What operators ask for: a drain is an announcement first and a withdraw after."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgenode.bgp.levels import CAUTION, Level
from edgenode.control.intent import Drain, asked, ended, words
from edgenode.state import NODE, Intent, IntentKind

NORMAL, DRAINED, WITHDRAWN = Level.NORMAL, Level.DRAINED, Level.WITHDRAWN
times = st.floats(0, 2e9)
durations = st.floats(0, 1e6)
intents = st.builds(
    Intent,
    st.sampled_from(["web", NODE]),
    st.sampled_from(list(IntentKind)),
    times,
    st.just("why"),
    st.sampled_from(["", "transit"]),
)
levels = st.sampled_from(list(Level))
drains = st.builds(Drain, durations, st.booleans())


def drain(since: float = 100.0, kind: IntentKind = IntentKind.DRAINED) -> Intent:
    return Intent("web", kind, since, "")


def test_without_an_intent_checks_and_regions_decide() -> None:
    assert asked([], 5.0, Drain(10.0), NORMAL).level is NORMAL


def test_a_drain_turns_into_a_withdraw_when_its_time_is_over_or_nobody_is_left() -> None:
    for kind in (IntentKind.DRAINED, IntentKind.MAINTENANCE):
        assert asked([drain(kind=kind)], 109.9, Drain(10.0), NORMAL).level is DRAINED
        assert asked([drain(kind=kind)], 110.0, Drain(10.0), DRAINED).level is WITHDRAWN
        assert asked([drain(kind=kind)], 101.0, Drain(10.0, idle=True), DRAINED).level is WITHDRAWN


def test_a_drain_announces_nothing_that_was_not_announced() -> None:
    """Also after a restart of control in the middle of a drain that had come to its end early."""
    assert asked([drain()], 100.1, Drain(10.0), WITHDRAWN).level is WITHDRAWN


def test_degrading_towards_one_neighbor_is_no_level_of_the_group() -> None:
    one = Intent("web", IntentKind.DEGRADED, 1.0, "", neighbor="transit")
    assert asked([one], 2.0, Drain(10.0), NORMAL).level is NORMAL
    everywhere = Intent("web", IntentKind.DEGRADED, 1.0, "")
    assert asked([one, everywhere], 2.0, Drain(10.0), NORMAL).level is Level.DEGRADED


@given(st.lists(intents), times, drains, levels)
def test_the_most_cautious_intent_holds(
    several: list[Intent], now: float, drain: Drain, previous: Level
) -> None:
    found = asked(several, now, drain, previous)
    alone = [asked([each], now, drain, previous).level for each in several]
    assert found.level is min(alone, key=CAUTION.index, default=NORMAL)
    assert bool(found.reasons) is (found.level is not NORMAL)


@given(times, times, drains, levels)
def test_a_withdraw_holds_whatever_the_clock_says(
    since: float, now: float, drain: Drain, previous: Level
) -> None:
    intent = Intent("g", IntentKind.WITHDRAWN, since, "")
    assert asked([intent], now, drain, previous).level is WITHDRAWN


@given(times, times, drains, levels)
def test_a_drained_group_is_never_left_alone(
    since: float, now: float, state: Drain, previous: Level
) -> None:
    assert asked([drain(since)], now, state, previous).level in (DRAINED, WITHDRAWN)


def test_an_end_is_heeded_and_words_name_who_and_why() -> None:
    intent = Intent(NODE, IntentKind.MAINTENANCE, 1.0, "new memory", until=50.0, author="ann")
    assert ended([intent], 49.0) == []
    assert ended([intent], 50.0) == [intent]
    assert words(intent) == "the node is in maintenance by ann (new memory)"
    assert words(Intent("web", IntentKind.DEGRADED, 1.0, "", neighbor="x")) == (
        "degraded towards x by the operator"
    )
