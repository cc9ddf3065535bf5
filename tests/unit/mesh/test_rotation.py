"""A peer that changes its key: its addresses are under the key that it has."""

from dataclasses import replace
from itertools import chain

from hypothesis import given
from hypothesis import strategies as st

from edgenode.config import Mesh
from edgenode.mesh.plan import Known, desired, plan
from edgenode.mesh.rotation import under_next
from edgenode.mesh.state import Current, RemovePeer, SetPeer
from tests.unit.mesh.worlds import EMPTY, apply, public_key

NOW, NEXT, OTHER = (public_key(n) for n in (1, 2, 3))
PEER = {
    "name": "fra",
    "public_key": NOW,
    "next_public_key": NEXT,
    "endpoint": "192.0.2.10:51820",
    "allowed": ["198.51.100.200/29", "2001:db8:f1::/64"],
}
IAD = {"name": "iad", "public_key": OTHER, "allowed": ["198.51.100.208/29"]}
MESH = Mesh.model_validate({"addresses": ["198.51.100.193"], "peers": [PEER, IAD]})


def settle(have: Current, ages: dict[str, float], mesh: Mesh = MESH) -> Current:
    """What a mesh becomes when control looks at it."""
    present = {peer.public_key: peer for peer in have.device.peers}
    want = desired(mesh, public_key(9), Known(next=under_next(mesh.peers, present, ages)))
    return apply(want, have, plan(want, have, ages).changes)


def holders(have: Current) -> dict[str, int]:
    return {peer.public_key: len(peer.allowed) for peer in have.device.peers}


BEFORE = settle(EMPTY, {})


def test_addresses_follow_the_first_handshake_and_come_back() -> None:
    assert holders(BEFORE) == {NOW: 2, NEXT: 0, OTHER: 1}
    assert settle(BEFORE, {NOW: 20.0, OTHER: 1.0}) == BEFORE
    moved = settle(BEFORE, {NOW: 20.0, NEXT: 0.5, OTHER: 1.0})
    assert holders(moved) == {NOW: 0, NEXT: 2, OTHER: 1}
    assert settle(moved, {NOW: 300.0, NEXT: 200.0}) == moved
    assert settle(moved, {}) == moved, "a restarted control that knows no ages"
    assert holders(settle(moved, {NOW: 1.0, NEXT: 60.0})) == holders(BEFORE), "it went back"


def test_they_move_in_one_change_and_nobody_else_is_touched() -> None:
    """A peer that is set whole has no addresses for a moment."""
    want = desired(MESH, public_key(9), Known(next=frozenset({"fra"})))
    (change,) = plan(want, BEFORE, {NOW: 9.0, NEXT: 0.0}).changes
    assert isinstance(change, SetPeer)
    assert change.peer.public_key == NEXT
    assert not change.replaces
    assert change.keepalive is None


def test_the_end_of_it_takes_the_former_key_away_and_touches_nothing_else() -> None:
    moved = settle(BEFORE, {NOW: 20.0, NEXT: 0.5})
    fra = MESH.peers[0].model_copy(update={"public_key": NEXT, "next_public_key": None})
    after = desired(MESH.model_copy(update={"peers": (fra, MESH.peers[1])}), public_key(9))
    assert plan(after, moved, {NEXT: 1.0}).changes == (RemovePeer(NOW),)


@given(st.lists(st.fixed_dictionaries({}, optional={k: st.floats(0, 400) for k in (NOW, NEXT)})))
def test_there_is_always_one_holder(looks: list[dict[str, float]]) -> None:
    have = BEFORE
    for ages in looks:
        have = settle(have, ages)
        held = list(chain(*(p.allowed for p in have.device.peers)))
        assert sorted(map(str, held)) == sorted(
            str(network) for peer in MESH.peers for network in peer.allowed
        )
        ordered = sorted(ages, key=lambda key: ages[key])
        if len(ages) == 1 or (len(ages) == 2 and ages[NOW] != ages[NEXT]):
            assert holders(have)[ordered[0]] == 2
        assert have == settle(have, ages), "and it stays"


def test_both_keys_have_the_same_secret_and_endpoint() -> None:
    now, after = (p for p in desired(MESH, public_key(9)).peers if p.public_key != OTHER)
    assert replace(after, public_key=NOW, allowed=now.allowed) == now
