"""What the rendered rules let in, as text; tests/lab/firewall asks the kernel."""

from __future__ import annotations

import pytest

from edgenode.config import Config
from edgenode.firewall import render

RAW = {
    "node": {"name": "lon1"},
    "bgp": {
        "asn": 64700,
        "router_id": "198.51.100.2",
        "neighbors": [
            {"name": "transit", "address": "198.51.100.1", "asn": 64601},
            {"name": "far", "address": "2001:db8:1::1", "asn": 64602, "multihop": 2},
        ],
    },
    "groups": [
        {
            "name": "web",
            "prefixes": ["203.0.113.0/24", "2001:db8:113::/48"],
            "addresses": ["203.0.113.1", "2001:db8:113::1"],
            "ports": ["udp/53", "tcp/8000-8100"],
        }
    ],
    "services": [
        {"name": "web", "group": "web", "listen": ["203.0.113.1:443"], "port": 8443},
    ],
    "regions": [{"name": "fra", "workers": [{"name": "fra-1", "addresses": ["198.51.100.201"]}]}],
    "mesh": {"addresses": ["198.51.100.193"]},
    "firewall": {"management": ["192.0.2.0/25"]},
}


def rules(**change: object) -> str:
    config = Config.model_validate({**RAW, **change})
    assert config.firewall
    return render(config, config.firewall)


def line(text: str, *parts: str) -> str:
    (found,) = (each for each in text.splitlines() if all(part in each for part in parts))
    return found


def test_bgp_from_neighbors_alone() -> None:
    text = rules()
    said = [each for each in text.splitlines() if "dport 179" in each]
    assert ["198.51.100.1" in said[0], "2001:db8:1::1" in said[1], len(said)] == [True, True, 2]


@pytest.mark.parametrize(("multihop", "least"), [(None, 255), (2, 254)])
def test_ttl_security(multihop: int | None, least: int) -> None:
    neighbor = {"name": "n", "address": "198.51.100.1", "asn": 64601, "ttl_security": True}
    if multihop:
        neighbor["multihop"] = multihop
    text = rules(bgp={**RAW["bgp"], "neighbors": [neighbor]})  # type: ignore[dict-item]
    assert f"ip ttl >= {least} tcp dport 179" in text


def test_metrics_are_managements_unless_on_loopback() -> None:
    for listen, ports in (("127.0.0.1:9500", "{ 22 }"), ("198.51.100.2:9500", "{ 22, 9500 }")):
        text = rules(metrics={"listen": listen})
        assert ports in line(text, "@management4")


def test_without_a_mesh_there_is_no_rule_for_one() -> None:
    text = rules(mesh=None)
    assert "wg0" not in text
    assert "51820" not in text


def test_edges_tell_each_other_in_the_mesh_alone_and_from_their_addresses() -> None:
    assert "51821" not in rules()
    edge = {
        "name": "nyc1",
        "public_key": "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=",
        "allowed": ["198.51.100.194/32", "2001:db8:ffff:1::2/128"],
        "edge": True,
    }
    text = rules(mesh={"addresses": ["198.51.100.193"], "peers": [edge]})
    said = line(text, "51821")
    assert said.strip() == "ip saddr { 198.51.100.194 } udp sport 51821 udp dport 51821 accept"
    assert text.index("chain mesh") < text.index(said) < text.index("chain operator")


@pytest.mark.parametrize("wrong", ["80", "tcp/0", "tcp/90-80", "sctp/80", "tcp/65536", "tcp/"])
def test_ports_that_are_none(wrong: str) -> None:
    groups = [{**RAW["groups"][0], "ports": [wrong]}]  # type: ignore[index]
    with pytest.raises(ValueError, match="write"):
        rules(groups=groups)


def test_echoes_of_the_mesh_are_let_in_before_those_of_strangers_are_counted() -> None:
    text = rules()
    assert text.index('iifname "wg0" icmp type echo-request accept') < text.index("jump icmp_in")
    assert text.index('iifname "wg0" icmpv6 type echo-request accept') < text.index("jump icmp_in")


def test_workers_are_reached_through_the_mesh_alone() -> None:
    peer = {"name": "fra", "public_key": "x", "allowed": ["198.51.100.200/29", "2001:db8:f1::/64"]}
    text = rules(mesh={"addresses": ["198.51.100.193"], "device": "wg7", "peers": [peer]})
    chain = text.partition("chain beside_mesh {")[2].partition("}\n  ")[0].splitlines()
    assert [each.strip() for each in chain[1:5]] == [
        "type filter hook output priority filter; policy accept;",
        'oifname { "wg7", "lo" } accept',
        "ip daddr @mesh4 counter drop",
        "ip6 daddr @mesh6 counter drop",
    ]
    assert "elements = { 198.51.100.200/29 }" in text.partition("set mesh4 {")[2][:120]
    assert "elements = { 2001:db8:f1::/64 }" in text.partition("set mesh6 {")[2][:120]
    assert "beside_mesh" not in rules(mesh=None)


def test_workers_that_register_answer_from_wherever_the_mesh_leads() -> None:
    key = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="
    peer = {"name": "fra", "public_key": key, "allowed": ["10.1.0.0/16", "2001:db8:f::/48"]}
    text = rules(
        mesh={"addresses": ["198.51.100.193"], "peers": [peer]},
        regions=[{"name": "fra"}],
        registry={"endpoints": ["https://10.1.0.9:2379", "https://etcd1.example.net:2381"]},
    )
    # Where the name leads is not known here, and it may be there: answers of its port are let in.
    v4 = "10.1.0.0/16 . 2381, 10.1.0.0/16 . 8443, 10.1.0.9 . 2379"
    assert f"elements = {{ {v4} }}" in text
    assert "elements = { 2001:db8:f::/48 . 2381, 2001:db8:f::/48 . 8443 }" in text
