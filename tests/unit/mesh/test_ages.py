"""Ages of handshakes: right by the wall clock at first, untouched by its steps later."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from edgenode.mesh.ages import Ages
from edgenode.mesh.state import PeerState

PEER = PeerState("key", None, frozenset(), 15)
SECONDS = st.integers(0, 10_000).map(float)
STEPS = st.integers(-(10**9), 10**9).map(float)
WALL = 1_700_000_000.0


@given(SECONDS, SECONDS, STEPS)
def test_a_step_of_the_wall_clock_changes_no_age(age: float, later: float, step: float) -> None:
    peers = [replace(PEER, handshake_at=WALL - age)]
    ages = Ages()
    assert ages.update(peers, WALL, 5.0) == {"key": age}
    assert ages.update(peers, WALL + later + step, 5.0 + later) == {"key": age + later}


@given(STEPS, SECONDS)
def test_a_handshake_that_is_seen_to_come_is_dated_by_that(step: float, later: float) -> None:
    ages = Ages()
    assert ages.update([PEER], WALL, 5.0) == {}
    fresh = [replace(PEER, handshake_at=WALL + step)]
    assert ages.update(fresh, WALL, 7.0) == {"key": 0.0}
    assert ages.update(fresh, WALL + step, 7.0 + later) == {"key": later}
    again = [replace(PEER, handshake_at=WALL + step - 1)]
    assert ages.update(again, WALL, 8.0 + later) == {"key": 0.0}
    assert ages.update([], WALL, 9.0 + later) == {}


def test_one_from_the_future_is_of_now() -> None:
    assert Ages().update([replace(PEER, handshake_at=WALL + 60)], WALL, 5.0) == {"key": 0.0}
