"""Two nodes with one key are found; one that moves now and then is not taken for two."""

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from edgenode.mesh import PeerStatus
from edgenode.mesh.names import SOON
from edgenode.mesh.twins import WINDOW, Twins

PEER = PeerStatus("fra", 5.0, 1, 1, None, keepalive=True)


def told(places: list[tuple[float, str | None]]) -> dict[str, str]:
    twins, found = Twins(), dict[str, str]()
    for now, endpoint in places:
        found = twins.update([replace(PEER, endpoint=endpoint), replace(PEER, name="iad")], now)
    return found


def test_two_that_speak_in_turns_are_named_and_forgotten_when_it_is_over() -> None:
    turns: list[tuple[float, str | None]] = [
        (2.0 * n, f"192.0.2.{1 + n % 2}:51820") for n in range(6)
    ]
    said = told(turns)
    assert [*said] == ["fra"]
    assert "192.0.2.1 and 192.0.2.2 in turns: two nodes have its key" in said["fra"]
    after: list[tuple[float, str | None]] = [(80.0 + 2 * n, "192.0.2.1:51820") for n in range(3)]
    assert told(turns + after) == {}


def test_a_dead_peer_that_is_looked_for_at_each_address_of_its_name_is_one() -> None:
    twins = Twins()
    for n in range(20):
        peer = replace(
            PEER, endpoint=("192.0.2.1:5", "[2001:db8::1]:5")[n % 2], handshake_age=999.0
        )
        assert twins.update([peer], n * SOON) == {}


@given(st.lists(st.integers(1, 65535), max_size=40))
def test_another_port_is_not_another_host(ports: list[int]) -> None:
    assert told([(float(n), f"[2001:db8::1]:{port}") for n, port in enumerate(ports)]) == {}


@given(st.lists(st.integers(1, 200), unique=True, max_size=40))
def test_one_that_moves_on_and_on_is_one(hosts: list[int]) -> None:
    assert told([(float(n), f"192.0.2.{host}:5") for n, host in enumerate(hosts)]) == {}


@given(st.lists(st.tuples(st.floats(WINDOW / 2, 1000), st.sampled_from(["a:1", "b:1", None]))))
def test_seldom_moves_are_no_twins(moves: list[Any]) -> None:
    now, places = 0.0, []
    for after, endpoint in moves:
        now += after
        places.append((now, endpoint))
    assert told(places) == {}
