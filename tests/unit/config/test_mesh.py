"""Rules on [mesh]: keys, names of endpoints, allowed addresses that would be a default route."""

from __future__ import annotations

import base64
from contextlib import suppress
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenode.config import ConfigError, Mesh, load, loads, meshrules
from edgenode.config.errors import spell
from edgenode.config.values import Endpoint, NamedEndpoint, parse_mesh_endpoint
from edgenode.mesh.keys import PrivateKey
from tests.unit.config.test_config import GOOD
from tests.unit.mesh.worlds import public_key

KEY = 'public_key = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI="'


def mesh(*allowed: str, **fields: Any) -> Mesh:
    peer = {"name": "x", "public_key": public_key(1), "allowed": list(allowed), **fields}
    return Mesh.model_validate({"addresses": ["198.51.100.193"], "peers": [peer]})


def said(found: Mesh) -> list[str]:
    return [f"{spell(problem.key)}: {problem.what}" for problem in meshrules.check(found)]


def everything_but(address: str) -> list[str]:
    """As some guides to WireGuard tell."""
    return [str(net) for net in IPv4Network("0.0.0.0/0").address_exclude(IPv4Network(address))]


@pytest.mark.parametrize(
    "allowed",
    [
        ["0.0.0.0/1", "128.0.0.0/1"],
        ["::/1", "8000::/1"],
        ["2000::/3"],
        ["11.0.0.0/8", "12.0.0.0/6", "16.0.0.0/6"],
        everything_but("198.51.100.193/32"),
    ],
)
def test_a_default_route_in_pieces_is_refused(allowed: list[str]) -> None:
    problems = [line for line in said(mesh(*allowed)) if "as good as a default route" in line]
    assert len(problems) == 1
    assert "name the peers' addresses" in problems[0]


def test_private_networks_are_not_much() -> None:
    assert said(mesh("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")) == []


@pytest.mark.parametrize(
    ("line", "where", "what"),
    [
        ('public_key = "c2hvcnQ="', "mesh.peers[0].public_key", "edgenode mesh key"),
        (f'{KEY}\nnext_public_key = "x"', "mesh.peers[0].next_public_key", "no WireGuard key"),
        (f"{KEY}\nnext_{KEY}", "mesh.peers[0].next_public_key", "already defined"),
        (f'{KEY}\nendpoint = "fra 1:5"', "mesh.peers[0].endpoint", "fra1.example.net:51820"),
        (f'{KEY}\nendpoint = "fra1.example.net:0"', "mesh.peers[0].endpoint", "a port"),
        (f'{KEY}\nendpoint = "fra1.example.net"', "mesh.peers[0].endpoint", "fra1.example.net:5"),
        (f'{KEY}\nendpoint = "192.0.2.256:5"', "mesh.peers[0].endpoint", "write"),
        (f'{KEY}\nendpoint = "a.1:5"', "mesh.peers[0].endpoint", "write"),
    ],
)
def test_what_is_refused_and_where(line: str, where: str, what: str) -> None:
    text = GOOD.replace('endpoint = "198.51.100.41:51820"\n', "").replace(KEY, line)
    assert line in text
    with pytest.raises(ConfigError) as refused:
        loads(text)
    assert [spell(problem.key) for problem in refused.value.problems] == [where]
    assert what in str(refused.value)


ZERO = base64.b64encode(bytes(32)).decode()


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"public_key": ZERO}, "public_key: is no WireGuard key"),
        ({"next_public_key": ZERO}, "next_public_key: is no WireGuard key"),
        *(
            (
                {"endpoint": f"{host}:51820"},
                f"endpoint: {host.strip('[]')} cannot be another node's",
            )
            for host in ("0.0.0.0", "224.0.0.1", "[fe80::1]", "[::]")
        ),
        ({"endpoint": "198.51.100.193:51820"}, "endpoint: 198.51.100.193 is our own mesh address"),
        *(
            ({"allowed": [network]}, f"allowed[0]: {network} cannot be behind a peer")
            for network in (
                "127.0.0.0/16",
                "224.0.0.0/8",
                "169.254.0.0/16",
                "ff00::/8",
                "fe80::/64",
                "::ffff:0:0/96",
            )
        ),
    ],
)
def test_what_can_never_work_is_refused(fields: dict[str, Any], problem: str) -> None:
    found = said(mesh(**{"allowed": ["198.51.100.200/29"], **fields}))
    assert len(found) == 1, found
    assert found[0].startswith(f"mesh.peers[0].{problem}")


def test_a_relay_on_loopback_may_carry_wireguard() -> None:
    assert not said(mesh(allowed=["198.51.100.200/29"], endpoint="127.0.0.1:51820"))


def test_what_a_mesh_may_be_used_for_is_not_refused() -> None:
    """NAT64 (RFC 6052), and an endpoint on a link of its own."""
    assert said(mesh("64:ff9b::c633:6400/120", endpoint="169.254.7.1:51820")) == []
    assert said(mesh("198.51.100.200/29", endpoint="[64:ff9b::c633:6429]:51820")) == []


def test_an_own_mesh_address_is_one_that_the_device_can_have() -> None:
    peer = {"name": "x", "public_key": public_key(1), "allowed": ["198.51.100.200/29"]}
    for address in ("127.0.0.1", "169.254.1.1", "fe80::1"):
        found = said(Mesh.model_validate({"addresses": [address], "peers": [peer]}))
        assert [line.partition(":")[0] for line in found] == ["mesh.addresses[0]"], found


@pytest.mark.parametrize("host", ["192.0.2.41", "fra.example.net"])
def test_two_peers_at_one_endpoint_are_refused(host: str) -> None:
    def two(first: str, second: str) -> list[str]:
        peers = [
            {
                "name": name,
                "public_key": public_key(n),
                "allowed": [f"198.51.100.{n}/32"],
                "endpoint": endpoint,
            }
            for n, (name, endpoint) in enumerate([("fra", first), ("iad", second)], 1)
        ]
        return said(Mesh.model_validate({"addresses": ["198.51.100.193"], "peers": peers}))

    found = two(f"{host}:51820", f"{host}:51820")
    assert len(found) == 1
    assert "mesh.peers[1].endpoint" in found[0]
    assert "already defined at mesh.peers[0].endpoint" in found[0]
    assert two(f"{host}:51820", f"{host}:51821") == [], "two nodes behind one NAT"


@pytest.mark.parametrize("text", ["0x7f000001:51820", "0x7f.0x1:51820", "fra.0x:51820"])
def test_a_number_is_no_name(text: str) -> None:
    """A resolver takes it for an address: inet_aton(3)."""
    with pytest.raises(ValueError, match="write"):
        parse_mesh_endpoint(text)


@pytest.mark.parametrize("text", ["fra1.example.net:51820", "FRA1.Example.net.:1", "worker:65535"])
def test_a_name_is_an_endpoint(text: str) -> None:
    found = parse_mesh_endpoint(text)
    assert isinstance(found, NamedEndpoint)
    assert str(found) == text.lower()
    assert parse_mesh_endpoint(str(found)) == found


@given(st.ip_addresses(), st.integers(1, 65535))
def test_no_address_is_taken_for_a_name(address: Any, port: int) -> None:
    text = f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"
    assert parse_mesh_endpoint(text) == Endpoint(address, port)


@given(st.text(max_size=40))
def test_any_text_is_an_endpoint_or_one_sentence(text: str) -> None:
    with suppress(ValueError):
        assert str(parse_mesh_endpoint(text)).isascii()


def test_a_peer_with_the_nodes_own_key_is_refused(tmp_path: Path) -> None:
    file, config = tmp_path / "wireguard.key", tmp_path / "edgenode.toml"
    own = PrivateKey.generate()
    text = GOOD.replace("[mesh]", f'[mesh]\nprivate_key_file = "{file}"')
    config.write_text(text.replace(KEY, f'{KEY}\nnext_public_key = "{own.public}"'))
    load(config)  # elsewhere, or before the key is made
    file.write_text(own.reveal_base64() + "\n")
    file.chmod(0o600)
    with pytest.raises(ConfigError) as refused:
        load(config)
    (only,) = refused.value.problems
    assert spell(only.key) == "mesh.peers[0].next_public_key"
    assert f"is this node's own key, of {file}" in only.what
    assert own.reveal_base64() not in only.what
    config.write_text(text.replace(KEY, f'public_key = "{own.public}"'))
    with pytest.raises(ConfigError, match=r"peers\[0\].public_key: is this node's own key"):
        load(config)
    config.write_text(text)
    load(config)


def test_a_preshared_keys_file(tmp_path: Path) -> None:
    file, config = tmp_path / "fra.psk", tmp_path / "edgenode.toml"
    config.write_text(GOOD.replace(KEY, f'{KEY}\npreshared_key_file = "{file}"'))

    def problem() -> str:
        with pytest.raises(ConfigError) as refused:
            load(config)
        (only,) = refused.value.problems
        assert spell(only.key) == "mesh.peers[0].preshared_key_file"
        return only.what

    assert "No such file" in problem()
    secret = base64.b64encode(b"\5" * 32).decode()
    for text in ("short", secret[:-2], base64.b64encode(bytes(32)).decode()):
        file.write_text(text)
        file.chmod(0o600)
        assert "wg genpsk" in (said := problem())
        assert text not in said
    file.write_text(f"{secret}\n")
    file.chmod(0o640)
    assert "chmod 600" in problem()
    file.chmod(0o600)
    load(config)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ('timeout = "6s"', "6 s is longer than the interval of 5 s"),
        ("min_mtu = 1500", "is more than the mesh's own MTU of 1420"),
        ("min_mtu = 575", "min_mtu"),
        ("largest = 9000", "largest: unknown key"),
    ],
)
def test_paths_that_cannot_be_measured_are_refused(setting: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        loads(GOOD.replace("[[mesh.peers]]", f"[mesh.paths]\n{setting}\n\n[[mesh.peers]]", 1))
