"""Routes with an MTU of their own: for the peers that were told, and no gap in any."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from edgenode.mesh.plan import plan
from edgenode.mesh.state import Current, Desired, RemoveRoute, ResizeRoute
from tests.unit.mesh.worlds import EMPTY, apply, meshes, public_key

KEYS = [public_key(key) for key in range(1, 7)]
MTUS = st.dictionaries(st.sampled_from(KEYS), st.none() | st.integers(576, 9000))


def sizes(have: Current, want: Desired) -> dict[tuple[str, int], set[int | None]]:
    """What the routes of each peer and family have."""
    owner = {network: peer.public_key for peer in want.peers for network in peer.allowed}
    found: dict[tuple[str, int], set[int | None]] = {}
    for route in have.link.routes:
        found.setdefault((owner[route.to], route.to.version), set()).add(route.mtu)
    return found


@given(meshes(), MTUS, MTUS)
def test_a_peers_routes_are_resized_and_no_others(
    want: Desired, first: dict[str, int | None], second: dict[str, int | None]
) -> None:
    have = apply(want, EMPTY, plan(want, EMPTY, {}, None, first).changes)
    todo = plan(want, have, {}, None, second).changes
    assert all(isinstance(change, ResizeRoute) for change in todo), "not a gap in any route"
    after = apply(want, have, todo)
    for (key, version), found in sizes(after, want).items():
        told = second[key] if key in second else first.get(key)
        assert found == {max(told, 1280) if told and version == 6 else told}
    assert plan(want, after, {}, None, second).changes == ()
    assert plan(want, after, {}).changes == (), "who knows nothing leaves them as they are"


@given(meshes(), MTUS)
def test_a_peer_that_goes_takes_its_routes_along(
    want: Desired, mtus: dict[str, int | None]
) -> None:
    have = apply(want, EMPTY, plan(want, EMPTY, {}, None, mtus).changes)
    alone = replace(want, peers=(), routes=frozenset())
    todo = plan(alone, have, {}, None, mtus)
    assert {change.route for change in todo.leaving} == have.link.routes
    assert not any(isinstance(change, ResizeRoute | RemoveRoute) for change in todo.link)
