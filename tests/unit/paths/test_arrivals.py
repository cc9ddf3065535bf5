"""Counters tell handshakes from packets."""

from hypothesis import given
from hypothesis import strategies as st

from edgenode.paths.arrivals import Arrivals


def looks(*counters: int) -> Arrivals:
    """A look every 2 s, at 0, 2, 4, ..."""
    seen = Arrivals()
    for index, rx in enumerate(counters):
        seen = seen.look(rx, 2.0 * index)
    return seen


def test_the_first_look_says_nothing() -> None:
    assert looks(1000) == Arrivals(looked=0.0, rx=1000)


def test_a_keepalive_and_a_packet_are_data() -> None:
    assert looks(0, 32).data == 0.0
    assert looks(0, 0, 128).data == 2.0
    assert looks(0, 32, 32 + 1452).data == 2.0


def test_an_answer_to_our_handshake_is_no_data() -> None:
    seen = looks(500, 592)
    assert (seen.data, seen.response, seen.calls) == (None, 0.0, 0)


def test_calls_of_a_peer_that_does_not_hear_us_are_counted() -> None:
    seen = looks(0, 148, 148, 296, 592)
    assert (seen.data, seen.response, seen.calls) == (None, None, 4)
    assert looks(0, 148, 296, 296 + 32).calls == 0
    assert looks(0, 148, 296, 296 + 92).calls == 0


def test_both_in_one_look_are_the_answer() -> None:
    assert looks(0, 148 + 92) == Arrivals(2.0, 240, response=0.0)


@given(st.lists(st.integers(0, 10**9), max_size=20))
def test_a_counter_that_goes_back_says_nothing(counters: list[int]) -> None:
    seen = looks(*sorted(counters, reverse=True))
    assert (seen.data, seen.response, seen.calls) == (None, None, 0)


@given(st.lists(st.integers(0, 100), min_size=1, max_size=10))
def test_bulk_is_data(packets: list[int]) -> None:
    total = sum(32 + 16 * packet for packet in packets)
    assert looks(0, total).data == 0.0 or total == 240
