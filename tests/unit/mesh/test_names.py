"""What names of endpoints stand for: no answer is acted upon without need, none is waited for."""

from ipaddress import ip_address
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from edgenode.config.values import Endpoint, NamedEndpoint
from edgenode.mesh.names import EVERY, SOON, Names, names_of
from edgenode.mesh.owners import Owners
from edgenode.mesh.resolver import look_up
from tests.unit.mesh.worlds import public_key
from tests.unit.regions import worlds

NAME = NamedEndpoint("fra1.example.net", 51820)
A, B, C = (ip_address(text) for text in ("192.0.2.1", "2001:db8::1", "192.0.2.3"))


def names(peer: str = "fra", name: NamedEndpoint = NAME) -> Names:
    return Names({peer: name}, lambda address: "is bad" if address == C else None)


def at(found: Names) -> Any:
    endpoint = found.endpoints.get("fra")
    return endpoint.host if endpoint else None


def test_asked_at_once_then_now_and_then_and_sooner_for_a_dead_peer() -> None:
    found = names()
    assert found.due(0.0, ()) == [("fra", NAME)]
    found.answered("fra", [A], 0.0, dead=False)
    assert found.endpoints == {"fra": Endpoint(A, 51820)}
    assert found.due(EVERY - 1, ()) == []
    assert found.due(SOON, {"fra"}) == [("fra", NAME)]
    assert found.due(EVERY, ()) == [("fra", NAME)]
    found.failed("fra", "timed out", EVERY)
    assert at(found) == A
    said = "fra1.example.net cannot be resolved: timed out; 192.0.2.1:51820 is kept"
    assert found.problems == {"fra": said}
    assert found.due(EVERY + SOON, ()) == [("fra", NAME)]
    found.answered("fra", [A], EVERY + SOON, dead=False)
    assert found.problems == {}


def test_a_live_peers_address_stays_as_long_as_the_name_has_it() -> None:
    found = names()
    for answer, chosen in (([A, B], A), ([B, A], A), ([B], B), ([A, B], B), ([], B)):
        found.answered("fra", answer, 1.0, dead=False)
        assert at(found) == chosen


def test_a_dead_peer_is_looked_for_at_the_next_address() -> None:
    found = names()
    found.answered("fra", [A, B], 1.0, dead=True)
    assert at(found) == A, "it was not tried yet"
    for chosen in (B, A, B):
        found.answered("fra", [A, B], 2.0, dead=True)
        assert at(found) == chosen


def test_an_address_that_can_be_no_endpoint_is_not_taken() -> None:
    found = names()
    found.answered("fra", [C, B], 1.0, dead=False)
    assert at(found) == B
    found.answered("fra", [C], 2.0, dead=False)
    assert at(found) == B
    assert "192.0.2.3 is bad" in found.problems["fra"]


@given(st.lists(st.tuples(st.permutations([A, B, C]), st.integers(0, 3), st.booleans())))
def test_what_is_chosen_is_always_of_an_answer(rounds: list[Any]) -> None:
    found, seen = names(), set()
    for n, (order, count, dead) in enumerate(rounds):
        answer = order[:count]
        before = at(found)
        found.answered("fra", answer, float(n), dead)
        seen |= set(answer)
        assert at(found) in (seen - {C} or {None})
        assert at(found) == before or at(found) in answer


def test_a_new_configuration_knows_what_the_one_before_knew() -> None:
    before = names()
    before.answered("fra", [A], 1.0, dead=False)
    same, other = names(), names(name=NamedEndpoint("fra2.example.net", 51820))
    same.take_over(before)
    other.take_over(before)
    assert (at(same), at(other)) == (A, None)


def mesh_config() -> Any:
    peer = {
        "name": "fra",
        "public_key": public_key(1),
        "endpoint": "fra1.example.net:51820",
        "allowed": ["198.51.100.200/29", "2001:db8:f1::/64"],
    }
    return worlds.config(mesh={"addresses": ["198.51.100.193"], "peers": [peer]})


def test_which_addresses_are_no_endpoints() -> None:
    found = names_of(mesh_config())
    for n, (text, why) in enumerate(
        {
            "198.51.100.201": "the tunnel would run through itself",
            "203.0.113.9": "anycast prefix 203.0.113.0/24",
            "198.51.100.193": "our own mesh address",
            "127.0.0.1": "loopback",
            "fe80::1": "link-local",
        }.items()
    ):
        found.answered("fra", [ip_address(text)], float(n), dead=False)
        assert why in found.problems["fra"]
        assert found.endpoints == {}


def test_whose_an_address_is() -> None:
    owners = Owners(mesh_config().mesh.peers)
    assert owners.of(ip_address("198.51.100.207")) == "fra"
    assert owners.of(ip_address("2001:db8:f1::9")) == "fra"
    assert owners.of(ip_address("198.51.100.208")) is None


def test_the_systems_resolver_is_asked() -> None:
    found = look_up(NamedEndpoint("localhost", 51820))
    assert found
    assert all(address.is_loopback for address in found)
