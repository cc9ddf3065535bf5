"""Addresses, devices and files that would not work, or cut something off."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenode.config import loads
from edgenode.config.networks import Holders, Keyed, overlaps
from edgenode.config.values import Network, parse_network
from tests.unit.config.test_config import GOOD, change, problems

V4 = "198.51.100.3"


@pytest.mark.parametrize(
    ("old", "new", "key", "what"),
    [
        *(
            (f'address = "{V4}"', f'address = "{bad}"', "neighbors[0].address", "cannot be")
            for bad in ("0.0.0.0", "127.0.0.1", "224.0.0.5", "255.255.255.255", "fe80::1")
        ),
        *(
            ('"2001:db8:1::3"', f'"{bad}"', "neighbors[1].address", "cannot be")
            for bad in ("::1", "::", "::ffff:192.0.2.1", "ff02::1", "fe80::1")
        ),
        ('"lon1"', '"lon1"\nstate_dir = "/x\\u0000"', "node.state_dir", "NUL"),
        ('"transit-v4"', '"ipp"', "neighbors[0].name", "BIRD has"),
        (f'"{V4}"', f'"{V4}"\nsource = "{V4}"', "neighbors[0].source", "own address"),
        (f'"{V4}"', f'"{V4}"\nsource = "0.0.0.0"', "neighbors[0].source", "unspecified"),
        (f'"{V4}"', f'"{V4}"\nsource = "2001:db8::1"', "neighbors[0].source", "family"),
        *(
            ('router_id = "198.51.100.1"', f"router_id = {bad}", "bgp.router_id", "")
            for bad in (
                '"0.0.0.0"',
                '"127.0.0.1"',
                '"255.255.255.255"',
                '"224.0.0.1"',
                "7",
                '"::1"',
            )
        ),
        *(
            ('"192.0.2.0/24"', f'"{bad}"', "groups[1].prefixes[0]", "cannot be announced")
            for bad in ("224.1.0.0/16", "127.0.0.0/8", "240.0.0.0/4", "0.0.0.0/8", "128.0.0.0/1")
        ),
        *(
            ('"192.0.2.0/24"', f'"{bad}"', "groups[1].prefixes[0]", "cannot be announced")
            for bad in ("fe80::/10", "ff00::/8", "::ffff:0:0/96", "::/16")
        ),
        ('"192.0.2.0/24"', '"198.51.100.0/29"', "groups[1].prefixes[0]", "the neighbor's"),
        ('"192.0.2.0/24"', '"198.51.100.40/29"', "groups[1].prefixes[0]", "the endpoint"),
        ('"192.0.2.0/24"', '"198.51.100.192/30"', "groups[1].prefixes[0]", "own mesh"),
        ('"192.0.2.0/24"', '"198.51.100.201/32"', "groups[1].prefixes[0]", "the worker"),
        (
            '["198.51.100.200/29"]',
            '["198.51.100.200/29", "198.51.100.0/29"]',
            "mesh.peers[0].allowed[1]",
            "the neighbor's address 198.51.100.3",
        ),
        (
            '["198.51.100.200/29"]',
            '["198.51.100.200/29", "198.51.100.41/32"]',
            "mesh.peers[0].allowed[1]",
            "the endpoint 198.51.100.41",
        ),
        *(
            (
                '["198.51.100.200/29"]',
                f'["198.51.100.200/29", "{network}"]',
                "mesh.peers[0].allowed[1]",
                f"{network} overlaps the anycast prefix {prefix} (groups[{place}])",
            )
            for network, prefix, place in (
                ("192.0.2.0/24", "192.0.2.0/24", "1].prefixes[0"),
                ("192.0.2.128/25", "192.0.2.0/24", "1].prefixes[0"),
                ("203.0.112.0/22", "203.0.113.0/24", "0].prefixes[0"),
                ("2001:db8:113::7/128", "2001:db8:113::/48", "0].prefixes[1"),
            )
        ),
        ('"web"\npre', '"web"\naddress_device = "wg0"\npre', "groups[0].address_device", "mesh"),
        (
            '"web"\npre',
            '"web"\naddress_device = "edgenode0"\npre',
            "groups[0].address_device",
            "lifeline",
        ),
        *(
            ("[mesh]", f'[lifeline]\ndevice = "{bad}"\n[mesh]', "lifeline.device", "cannot be")
            for bad in ("lo", "all", "default")
        ),
        ("[mesh]", '[mesh]\ndevice = "edgenode0"', "mesh.device", "lifeline"),
        ("[mesh]", "[lifeline]\ngrace = 61\n[mesh]", "lifeline.grace", "60"),
        ("[mesh]", "[lifeline]\nheartbeat_timeout = 0.5\n[mesh]", "heartbeat_timeout", "1"),
        ("[mesh]", '[lifeline]\nheartbeat_timeout = "2m"\n[mesh]', "heartbeat_timeout", "60"),
        *(
            ("[mesh]", f'[metrics]\nlisten = "{own}:80"\n[mesh]', "metrics.listen", "already")
            for own in ("0.0.0.0", "[::]", "203.0.113.1")
        ),
        ("port = 8080", 'port = "8080"', "services[0].port", "whole number"),
        ("asn = 64700", "asn = true", "bgp.asn", "whole number"),
        ('type = "tcp"', 'type = "tcp"\nrise = "2"', "checks[0].rise", "whole number"),
        ('type = "tcp"', 'type = "tcp"\ntripwire = "yes"', "checks[0].tripwire", "true or false"),
        ('type = "tcp"', 'type = "tcp"\njitter = "0.1"', "checks[0].jitter", "number"),
        (
            'type = "tcp"\ntarget = "203.0.113.1:80"',
            'type = "exec"\ncommand = ["a=b"]',
            "checks[0].command",
            '"="',
        ),
        ("asn = 64700", 'asn = 64700\nconfig = "/etc/bird/a b.conf"', "bgp.config", "letters"),
        ("asn = 64700", 'asn = 64700\nconfig = "/e\'\\"c/b.conf"', "bgp.config", "letters"),
        ('"lon1"', f'"lon1"\nrun_dir = "/{"x" * 94}"', "node.run_dir", "107"),
    ],
)
def test_what_would_not_work_is_refused(old: str, new: str, key: str, what: str) -> None:
    lines = problems(change(old, new))
    assert any(key in line and what in line for line in lines), lines


def test_what_is_near_to_that_is_taken() -> None:
    for old, new in (
        ("[mesh]", '[metrics]\nlisten = "0.0.0.0:9500"\n[mesh]'),
        ("[mesh]", "[lifeline]\ngrace = 0\nheartbeat_timeout = 1\n[mesh]"),
        (f'"{V4}"', '"169.254.0.1"'),  # clouds give such neighbors
        ('"lon1"', f'"lon1"\nrun_dir = "/{"x" * 82}"'),
        ('type = "tcp"', 'type = "tcp"\njitter = 0'),
    ):
        loads(change(old, new))


@pytest.mark.parametrize("secret", ['say "friend"', "x" * 81, "tab\there"])
def test_a_password_that_bird_cannot_read(tmp_path: Path, secret: str) -> None:
    path = tmp_path / "md5"
    path.write_text(secret)
    path.chmod(0o600)
    (line,) = problems(change("asn = 64601", f'asn = 64601\npassword_file = "{path}"'))
    assert str(path) in line
    assert secret not in line


nets = st.lists(
    st.one_of(
        st.builds(
            lambda a, n: parse_network(f"10.0.0.{a >> (32 - n) << (32 - n)}/{n}"),
            st.integers(0, 255),
            st.integers(25, 32),
        ),
        st.builds(lambda a: parse_network(f"2001:db8::{a:x}/128"), st.integers(0, 7)),
    ),
    max_size=12,
)


@given(nets)
def test_overlaps_are_found_as_by_comparing_all(networks: list[Network]) -> None:
    keyed: list[Keyed] = [((n,), network) for n, network in enumerate(networks)]
    pairs = {(a[0], b[0]) for a, b in overlaps(keyed)}
    slow = {
        ((i,), (j,))
        for i, one in enumerate(networks)
        for j, other in enumerate(networks)
        if i < j and one.version == other.version and one.overlaps(other)
    }
    assert pairs <= slow
    touched = {key for pair in slow for key in pair}
    assert {key for pair in pairs for key in pair} == touched


@given(nets, st.integers(0, 255))
def test_who_holds_an_address(networks: list[Network], last: int) -> None:
    keyed: list[Keyed] = [((n,), network) for n, network in enumerate(networks)]
    address = parse_network(f"10.0.0.{last}/32").network_address
    held = Holders(keyed).of(address)
    holding = [n for n in networks if n.version == 4 and address in n]
    assert (held is not None) == bool(holding)
    assert held is None or held[1] in holding


def test_thousands_of_prefixes_are_judged_quickly() -> None:
    many = ", ".join(f'"10.{n >> 8}.{n & 255}.0/24"' for n in range(3000))
    text = GOOD.replace('["192.0.2.0/24"]', f'[{many}, "192.0.2.0/24"]')
    started = time.process_time()
    loads(text)
    assert time.process_time() - started < 1.0
