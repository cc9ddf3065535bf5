"""The delay line's queue: order, delay, bound, cut."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgenode.lab.link import QUEUE, Direction

STEPS = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 0.5)), max_size=50)


def drain(way: Direction, now: float) -> list[bytes]:
    taken = []
    while (packet := way.take(now)) is not None:
        taken.append(packet)
    return taken


@given(STEPS)
def test_order_is_kept_whatever_becomes_of_the_delay(steps: list[tuple[float, float]]) -> None:
    way = Direction(0, 1, 0.1)
    now, sent, got = 0.0, [], []
    for number, (pause, delay) in enumerate(steps):
        now += pause
        way.delay = delay
        packet = str(number).encode()
        sent.append(packet)
        way.put(now, packet)
        got += drain(way, now)
    got += drain(way, now + 1)
    assert got == sent
    assert way.packets == len(sent)
    assert way.dropped == 0


def test_a_packet_comes_at_its_time_and_not_before() -> None:
    way = Direction(0, 1, 0.25)
    way.put(10.0, b"x")
    assert way.take(10.2499) is None
    assert way.take(10.25) == b"x"
    assert way.take(11.0) is None


def test_the_queue_is_bounded_and_drops_the_tail() -> None:
    way = Direction(0, 1, 1.0)
    for number in range(QUEUE + 5):
        way.put(0.0, str(number).encode())
    assert way.dropped == 5
    assert drain(way, 2.0)[-1] == str(QUEUE - 1).encode()


def test_a_cut_loses_what_is_on_the_way_and_what_comes() -> None:
    way = Direction(0, 1, 1.0)
    way.put(0.0, b"on the way")
    way.set_cut(True)
    way.put(0.5, b"while cut")
    assert drain(way, 5.0) == []
    way.set_cut(False)
    way.put(6.0, b"after")
    assert drain(way, 7.0) == [b"after"]
    assert way.status() == {
        "delay": 1.0,
        "cut": False,
        "queued": 0,
        "packets": 1,
        "bytes": 5,
        "dropped": 2,
    }
