"""From evidence to verdict: which way is broken, and when nothing may be said."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from edgenode.paths.verdict import BAD, Direction, Facts, State, judge

WELL = Facts(
    peer="fra",
    asked=True,
    host=True,
    ever=True,
    silent=None,
    probed=0.0,
    lossy=False,
    mtu=1420,
    size=None,
    min_mtu=576,
    large=1420,
    workers=None,
    data=None,
    response=None,
    call=None,
    calls=0,
    keepalive=15.0,
    preshared=False,
    stale=False,
    began=0.0,
)
SILENT = replace(WELL, silent=100.0, data=99.0, response=50.0, workers=99.0)
TIMES = st.none() | st.floats(0, 200)


def test_what_answers_is_good() -> None:
    assert judge(WELL, 100.0).state is State.GOOD
    assert judge(replace(WELL, lossy=True), 100.0).state is State.LOSSY
    assert judge(replace(WELL, ever=False), 100.0).state is State.UNKNOWN
    assert judge(WELL, 100.0).problem(6) is None


def test_nobody_to_ask_is_bad_by_a_stale_handshake_only() -> None:
    nobody = replace(WELL, asked=False, ever=False)
    assert judge(nobody, 100.0).state is State.UNKNOWN
    stale = replace(nobody, stale=True)
    assert judge(stale, 100.0).state is State.DEAD
    assert judge(stale, 5.0).state is State.UNKNOWN, "a first handshake takes its time"
    assert judge(replace(stale, workers=99.0), 100.0).state is State.UNKNOWN


def test_a_lowered_mtu_is_good_where_ipv6_can_live_with_it() -> None:
    verdict = judge(replace(WELL, size=1344), 100.0)
    assert verdict.state is State.GOOD
    assert "1344" in verdict.reason
    assert verdict.problem(4) is verdict.problem(6) is None
    small = judge(replace(WELL, size=1200), 100.0)
    assert small.problem(4) is None
    assert "IPv6 needs 1280" in str(small.problem(6))


def test_no_useful_size_is_a_black_hole() -> None:
    verdict = judge(replace(WELL, size=0), 100.0)
    assert verdict.state is State.BLACK_HOLE
    assert verdict.problem(4) == verdict.reason


@given(st.sampled_from([0, 100, 575]), st.none() | st.integers(0, 1279), TIMES, TIMES)
def test_a_host_that_never_answered_large_echoes_may_filter_them(
    large: int, size: int | None, workers: float | None, data: float | None
) -> None:
    verdict = judge(replace(WELL, size=size, large=large, workers=workers, data=data), 100.0)
    assert verdict.problem(4) is verdict.problem(6) is None
    if size == 0:
        assert verdict.state is State.LARGE_LOST


def test_a_host_that_filters_echoes_larger_than_1024_bytes_is_kept_for_ipv6() -> None:
    """As some firewalls do by a single setting."""
    assert judge(replace(WELL, size=1024, large=1024), 100.0).problem(6) is None
    assert judge(replace(WELL, size=1024, large=1420), 100.0).problem(6)


def test_packets_of_the_peer_say_that_ours_are_lost() -> None:
    verdict = judge(replace(SILENT, data=103.0), 105.0)
    assert (verdict.state, verdict.direction, verdict.likely) == (
        State.ONE_WAY,
        Direction.OUT,
        False,
    )


def test_a_peer_that_calls_again_and_again_does_not_hear_us() -> None:
    verdict = judge(replace(SILENT, calls=8, ever=False), 140.0)
    assert (verdict.state, verdict.direction) == (State.ONE_WAY, Direction.OUT)
    few = judge(replace(SILENT, calls=7), 140.0)
    assert (few.state, few.direction) == (State.DEAD, None)
    assert "begins handshakes" in few.reason


def test_ends_that_have_never_met_have_time_for_a_handshake() -> None:
    calling = replace(SILENT, calls=4, ever=False)
    assert judge(calling, 125.0).state is State.UNKNOWN
    assert judge(calling, 161.0).state is State.DEAD, "it has called, and calls no more"


def test_answered_handshakes_without_a_packet_say_that_its_are_lost() -> None:
    answered = replace(SILENT, response=115.0)
    early = judge(answered, 117.0)
    assert (early.state, early.direction) == (State.ONE_WAY, None)
    late = judge(answered, 121.0)
    assert (late.state, late.direction, late.likely) == (State.ONE_WAY, Direction.IN, True)


def test_silence_is_dead() -> None:
    verdict = judge(SILENT, 105.0)
    assert verdict.state is State.DEAD
    assert verdict.direction is None


def test_workers_that_answer_say_that_echoes_are_filtered() -> None:
    for facts in (SILENT, replace(SILENT, data=103.0), replace(SILENT, response=103.0, calls=9)):
        assert judge(replace(facts, workers=101.0), 150.0).state is State.FILTERED


def test_workers_that_are_up_are_asked_first() -> None:
    asked = replace(SILENT, probed=105.0)
    assert judge(asked, 104.9).state is State.LOSSY
    assert judge(asked, 105.0).state is State.DEAD
    assert judge(replace(asked, workers=None), 104.9).state is State.DEAD


@given(TIMES, TIMES, TIMES, st.integers(0, 9), st.booleans(), st.floats(110, 400))
def test_what_answered_before_is_bad_until_something_answers(
    data: float | None,
    response: float | None,
    call: float | None,
    calls: int,
    host: bool,
    now: float,
) -> None:
    """Whatever arrives meanwhile: that tells the direction only."""
    facts = replace(SILENT, data=data, response=response, call=call, calls=calls, host=host)
    assert judge(replace(facts, workers=None), now).state in BAD


def test_where_no_handshake_completes_the_preshared_key_is_named() -> None:
    hint = "whether both ends have the same preshared key"
    never = replace(SILENT, ever=False, workers=None)
    stale = replace(never, asked=False, silent=None, stale=True)
    calling = replace(never, calls=8), replace(never, calls=4)
    for facts in (never, stale, *calling):
        assert hint in judge(replace(facts, preshared=True), 170.0).reason
        assert hint not in judge(facts, 170.0).reason
    heard = replace(SILENT, data=103.0, preshared=True)
    assert hint not in judge(heard, 105.0).reason, "they have a session"


@given(TIMES, TIMES, st.booleans(), st.booleans())
def test_a_host_that_never_answered_and_is_heard_is_never_bad(
    workers: float | None, response: float | None, host: bool, stale: bool
) -> None:
    facts = replace(SILENT, ever=False, host=host, stale=stale, workers=workers, response=response)
    heard = replace(facts, data=195.0)
    assert judge(heard, 200.0).state not in BAD


@given(TIMES, TIMES, TIMES, st.integers(0, 9), st.booleans())
def test_workers_behind_it_prove_a_path(
    silent: float | None, data: float | None, response: float | None, calls: int, ever: bool
) -> None:
    facts = replace(SILENT, silent=silent, data=data, response=response, calls=calls, ever=ever)
    assert judge(replace(facts, workers=200.0), 200.0).state not in BAD
