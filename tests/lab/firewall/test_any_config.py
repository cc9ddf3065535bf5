"""Whatever the configuration says: nft takes the rules, and they let in no more than it says."""

from __future__ import annotations

import re
import subprocess
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from edgenode.config import Config
from edgenode.firewall import render
from tests.unit.firewall.test_render import RAW

ports = st.integers(1, 65535)
hosts4 = st.integers(1, 250).map(lambda n: str(IPv4Address("198.51.100.0") + n))
hosts6 = st.integers(1, 2**32).map(lambda n: str(IPv6Address("2001:db8:1::") + n))


@st.composite
def served(draw: st.DrawFn) -> str:
    first, last = sorted((draw(ports), draw(ports)))
    protocol = draw(st.sampled_from(("tcp", "udp")))
    return f"{protocol}/{first}-{last}" if draw(st.booleans()) else f"{protocol}/{first}"


@st.composite
def configurations(draw: st.DrawFn) -> dict[str, Any]:
    addresses = draw(st.lists(st.one_of(hosts4, hosts6), min_size=1, max_size=4, unique=True))
    neighbors = [
        {
            "name": f"n{number}",
            "address": address,
            "asn": 64601,
            "ttl_security": draw(st.booleans()),
            **({"multihop": draw(st.integers(2, 255))} if draw(st.booleans()) else {}),
        }
        for number, address in enumerate(addresses)
    ]
    group = {**RAW["groups"][0], "ports": draw(st.lists(served(), max_size=6))}  # type: ignore[index]
    listen = draw(st.lists(ports, min_size=1, max_size=4, unique=True))
    places = [f"{host}:{port}" for port in listen for host in ("203.0.113.1", "[2001:db8:113::1]")]
    workers = [
        {"name": f"w{number}", "addresses": [address]}
        for number, address in enumerate(
            draw(st.lists(st.one_of(hosts4, hosts6), min_size=1, max_size=5, unique=True))
        )
    ]
    mesh: dict[str, Any] = {
        "addresses": ["198.51.100.193"],
        "device": draw(st.sampled_from(("wg0", "lan.7", "0mesh", "mesh-1"))),
        "listen_port": draw(ports),
    }
    allowed = ["198.51.100.0/25", "2001:db8:1::/64"]
    mesh["peers"] = [{"name": "fra", "public_key": "x", "allowed": allowed}]
    registry = {"endpoints": ["https://198.51.100.9:2379"]}
    networks = ["192.0.2.0/25", "192.0.2.0/24", "10.0.0.0/8", "2001:db8:9::/48", "10.1.0.0/16"]
    return {
        **RAW,
        "bgp": {**RAW["bgp"], "neighbors": neighbors},  # type: ignore[dict-item]
        "groups": [group],
        "services": [
            {"name": "web", "group": "web", "listen": places, "port": draw(ports)},
        ],
        "regions": [{"name": "fra", "workers": workers}],
        "mesh": draw(st.sampled_from((None, mesh))),
        "registry": draw(st.sampled_from((None, registry))),
        "metrics": draw(st.sampled_from((None, {"listen": "0.0.0.0:9500"}))),
        "firewall": {
            "management": draw(st.lists(st.sampled_from(networks), min_size=1, unique=True)),
            "log_drops": draw(st.booleans()),
        },
    }


@settings(max_examples=60)
@given(configurations())
def test_nft_takes_it(raw: dict[str, Any]) -> None:
    config = Config.model_validate(raw)
    assert config.firewall
    text = render(config, config.firewall)
    # Twice: it replaces itself. Loaded and not only checked: sets are filled by the kernel.
    load = 'printf %s "$1" | nft -f - && printf %s "$1" | nft -f -'
    done = subprocess.run(
        ["unshare", "--net", "sh", "-c", load, "sh", text],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    bgp = [line for line in text.splitlines() if "tcp dport 179 " in line]
    assert len(bgp) == len(config.bgp.neighbors)
    assert all(re.match(r"\s+ip6? saddr \S+ ", line) for line in bgp)
    # No port is open to all but WireGuard's and a DHCP client's.
    opened = [
        line.split()
        for line in text.splitlines()
        if re.match(r"\s+(tcp|udp|th) ", line) and line.endswith("accept")
    ]
    expected = [["udp", "sport", "67", "udp", "dport", "68", "accept"]]
    if config.mesh:
        expected.insert(0, ["udp", "dport", str(config.mesh.listen_port), "counter", "accept"])
    assert opened == expected
