"""The plan: complete, idempotent, and as small as can be."""

from dataclasses import replace
from ipaddress import ip_interface
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenode.config import Mesh
from edgenode.mesh import PlanError, render
from edgenode.mesh.plan import desired, plan
from edgenode.mesh.state import AddAddress, Current, Desired, RemovePeer, SetKey, SetPeer
from tests.unit.mesh.worlds import EMPTY, ENDPOINTS, apply, meshes, public_key


def reached(want: Desired, have: Current) -> Current:
    return apply(want, have, plan(want, have, {}).changes)


@given(meshes(), meshes())
def test_any_mesh_becomes_any_other_in_one_plan(first: Desired, second: Desired) -> None:
    have = reached(second, reached(first, EMPTY))
    assert plan(second, have, {}).changes == ()
    assert have.device.public_key == second.public_key
    assert have.link.routes == second.routes
    assert have.link.addresses == second.addresses
    assert {(p.public_key, p.allowed, p.keepalive, p.preshared) for p in have.device.peers} == {
        (p.public_key, p.allowed, p.keepalive, p.preshared) for p in second.peers
    }


@given(meshes(), meshes())
def test_a_peer_that_stays_as_it_is_is_never_touched(first: Desired, second: Desired) -> None:
    """Unless the node's own key changes, which ends all sessions: then they are greeted."""
    second = replace(second, public_key=first.public_key)
    touched = {
        change.peer.public_key if isinstance(change, SetPeer) else change.public_key
        for change in plan(second, reached(first, EMPTY), {}).device
        if isinstance(change, SetPeer | RemovePeer)
    }
    assert touched.isdisjoint(peer.public_key for peer in {*first.peers} & {*second.peers})


@given(meshes())
def test_a_new_key_of_our_own_greets_all_peers_at_once(want: Desired) -> None:
    have = reached(want, EMPTY)
    other = replace(want, public_key=public_key(99))
    changes = plan(other, have, {}).device
    assert isinstance(changes[0], SetKey)
    greeted = [c.peer.public_key for c in changes if isinstance(c, SetPeer) and c.keepalive == 0]
    assert greeted == [p.public_key for p in want.peers if p.keepalive]
    assert reached(other, have).device.peers == have.device.peers


@given(meshes(), st.floats(0, 180))
def test_a_live_peer_that_moved_is_left_where_it_is(want: Desired, age: float) -> None:
    have = reached(want, EMPTY)
    moved = replace(
        have.device,
        peers=tuple(replace(p, endpoint=replace(ENDPOINTS[0], port=9)) for p in have.device.peers),
    )
    ages = {p.public_key: age for p in want.peers}
    now_there = Current(moved, have.link)
    assert plan(want, now_there, ages).changes == ()
    called = [p for p in want.peers if p.endpoint]
    # Dead there: back to where the configuration has it. Changed by the operator: at once.
    dead = {key: age + 181 for key, age in ages.items()}
    assert len(plan(want, now_there, dead).device) == len(called)
    assert len(plan(want, now_there, {}).device) == len(called)
    before = {p.public_key: ENDPOINTS[3] for p in want.peers}
    by_operator = [p for p in called if p.endpoint != ENDPOINTS[3]]
    assert len(plan(want, now_there, ages, before).device) == len(by_operator)


def test_link_local_addresses_are_the_kernels_own() -> None:
    want = desired(mesh(), public_key(100))
    have = reached(want, EMPTY)
    local = replace(have.link, addresses=have.link.addresses | {ip_interface("fe80::1/64")})
    assert plan(want, Current(have.device, local), {}).changes == ()


def mesh(**fields: Any) -> Mesh:
    fra = {
        "name": "fra",
        "public_key": public_key(1),
        "endpoint": "192.0.2.10:51820",
        "allowed": ["198.51.100.200/29", "2001:db8:ffff:f1::/64"],
    }
    iad = {"name": "iad", "public_key": public_key(2), "allowed": ["198.51.100.208/29"]}
    own = ["198.51.100.193", "2001:db8:ffff:1::1"]
    return Mesh.model_validate({"addresses": own, "peers": [fra, iad], **fields})


def peer(**fields: Any) -> dict[str, Any]:
    return {"name": "x", "public_key": public_key(1), "allowed": ["203.0.113.0/24"], **fields}


@pytest.mark.parametrize(
    ("peers", "said"),
    [
        ([peer(allowed=["0.0.0.0/0"])], r"peers\[0\].allowed\[0\]: a default route"),
        ([peer(allowed=["0.0.0.0/1", "128.0.0.0/1"])], "100.0% of all IPv4 addresses together"),
        ([peer(public_key="short")], r"peers\[0\].public_key: is no WireGuard key"),
        ([peer(public_key=public_key(9))], "x has the public_key of this node itself"),
        ([peer(next_public_key=public_key(9))], "x has the public_key of this node itself"),
        ([peer(endpoint="203.0.113.9:51820")], "the tunnel would run through itself"),
    ],
)
def test_a_mesh_that_cannot_work_is_refused(peers: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(PlanError, match=said):
        desired(mesh(peers=peers), public_key(9))


def test_a_family_without_an_own_address_gets_no_route() -> None:
    want = desired(mesh(addresses=["198.51.100.193"]), public_key(9))
    assert {str(route.to) for route in want.routes} == {"198.51.100.200/29", "198.51.100.208/29"}
    assert [c for c in plan(want, EMPTY, {}).link if isinstance(c, AddAddress)] == [
        AddAddress(ip_interface("198.51.100.193/32"))
    ]


def test_rendered_without_the_private_key() -> None:
    assert render(mesh(), Path("/var/lib/edgenode/wireguard.key"), public_key(9)) == (
        "[Interface]\n"
        "# PrivateKey is in /var/lib/edgenode/wireguard.key\n"
        f"# PublicKey = {public_key(9)}\n"
        "ListenPort = 51820\n"
        "Address = 198.51.100.193, 2001:db8:ffff:1::1\n"
        "MTU = 1420\n"
        "\n"
        "# fra\n"
        "[Peer]\n"
        f"PublicKey = {public_key(1)}\n"
        "Endpoint = 192.0.2.10:51820\n"
        "AllowedIPs = 198.51.100.200/29, 2001:db8:ffff:f1::/64\n"
        "PersistentKeepalive = 15\n"
        "\n"
        "# iad\n"
        "[Peer]\n"
        f"PublicKey = {public_key(2)}\n"
        "AllowedIPs = 198.51.100.208/29\n"
        "PersistentKeepalive = 15\n"
    )


def test_a_peer_with_names_secrets_and_a_next_key_is_rendered() -> None:
    fields = {"preshared_key_file": "/etc/fra.psk", "next_public_key": public_key(2)}
    shown = render(mesh(peers=[peer(endpoint="fra1.example.net:5", **fields)]), Path("key"))
    assert shown.partition("# x\n")[2] == (
        "[Peer]\n"
        f"PublicKey = {public_key(1)}\n"
        "# PresharedKey is in /etc/fra.psk\n"
        "Endpoint = fra1.example.net:5\n"
        "AllowedIPs = 203.0.113.0/24\n"
        "PersistentKeepalive = 15\n"
        "\n"
        "# x, under its next key\n"
        "[Peer]\n"
        f"PublicKey = {public_key(2)}\n"
        "# PresharedKey is in /etc/fra.psk\n"
        "Endpoint = fra1.example.net:5\n"
        "PersistentKeepalive = 15\n"
    )
