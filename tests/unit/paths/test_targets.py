"""Who is asked, and whose address is whose."""

from ipaddress import ip_address

from edgenode.config.schema import MeshPeer
from edgenode.paths.targets import targets
from tests.unit.mesh.worlds import public_key


def peer(*allowed: str, name: str = "fra") -> MeshPeer:
    fields = {"name": name, "public_key": public_key(1), "allowed": allowed}
    return MeshPeer.model_validate(fields)


WORKERS = [ip_address(f"198.51.100.{n}") for n in range(200, 210)]


def test_a_lone_address_is_the_peer_itself() -> None:
    found = targets(peer("198.51.100.201/32", "2001:db8::1/128"), (4, 6), ())
    assert [str(a) for a in found.addresses] == ["198.51.100.201", "2001:db8::1"]
    assert found.hosts == set(found.addresses)
    assert [str(a) for a in targets(peer("198.51.100.201/32", "2001:db8::1/128"), (6,), ()).hosts]


def test_hosts_behind_a_gateway_are_not() -> None:
    found = targets(peer("198.51.100.200/29"), (4, 6), WORKERS)
    assert [str(a) for a in found.addresses] == [f"198.51.100.20{n}" for n in range(4)]
    assert found.hosts == set()
    several = targets(peer("198.51.100.200/32", "198.51.100.201/32"), (4,), WORKERS)
    assert several.hosts == set(), "which of the two is the peer's is not known"
    assert set(several.addresses) == set(WORKERS[:2])


def test_a_range_without_workers_has_nobody_to_ask() -> None:
    assert targets(peer("203.0.113.0/29"), (4, 6), WORKERS).addresses == ()
