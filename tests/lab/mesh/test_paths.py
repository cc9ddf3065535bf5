"""What is said of real tunnels, and done about them: by wireguard-go, in namespaces of its own."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from edgenode.lab import netns
from edgenode.lab.waiting import wait_until
from tests.lab.mesh.pair import Node, pair, server
from tests.lab.mesh.watching import watching

BODY = b"x" * 65536


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[tuple[Node, Node]]:
    with pair(tmp_path) as (edge, worker):
        edge.ensure(worker)
        worker.ensure(edge)
        yield edge, worker


def drop(node: Node, rule: str) -> None:
    """Packets that come to a node vanish, and nobody is told."""
    node.nft(
        "add table inet t; add chain inet t i { type filter hook input priority -10; };"
        f"add rule inet t i iifname {node.veth} {rule} drop"
    )


def drop_echoes(node: Node, protocols: str, which: str = "") -> None:
    """A node answers none."""
    node.nft(
        "add table inet e; add chain inet e i { type filter hook input priority 0; };"
        f"add rule inet e i meta l4proto {{ {protocols} }} {which} drop"
    )


def heal(*nodes: Node) -> None:
    for node in nodes:
        node.nft("delete table inet t")


DATA = "udp dport 51820 @th,64,8 4"
"""WireGuard's packets, and not its handshakes (whitepaper, section 5.4.6)."""


def there_and_back(edge: Node, address: str, timeout: float) -> int | None:
    """64 KiB to the worker and back, with DF: the MSS that was agreed; None: it hangs."""
    with edge.dial(address) as stream:
        stream.settimeout(timeout)
        sending = threading.Thread(target=stream.sendall, args=(BODY,), daemon=True)
        try:
            sending.start()
            left = len(BODY)
            while left:
                left -= len(stream.recv(left))
        except TimeoutError:
            return None
        finally:
            stream.shutdown(socket.SHUT_RDWR)
            sending.join(5)
        return int(stream.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG))


def test_a_path_that_is_well_is_measured(nodes: tuple[Node, Node]) -> None:
    edge, worker = nodes
    with watching(edge, worker) as watch:
        wait_until(lambda: watch.path["state"] == "good", 10, "good")
        wait_until(lambda: watch.path["handshake_age"] is not None, 10, "the handshake seen")
        path = watch.path
        assert 0 < path["rtt_ms"] < 100
        assert path["loss"] == 0
        assert path["handshake_age"] < 60
        assert path["mtu"] == {"configured": 1420, "proven": 1420, "lowered": None}
        assert watch.notes == [], "all is well: nothing is said"


def test_a_black_hole_is_mended_for_both_ways(nodes: tuple[Node, Node]) -> None:
    """Larger packets vanish in the underlay, as where ICMP is filtered."""
    edge, worker = nodes
    with server(worker, []), watching(edge, worker, grow_interval="1s") as watch:
        wait_until(lambda: watch.path["mtu"]["proven"] == 1420, 10, "the full size proven")
        for node in nodes:
            drop(node, "meta length > 1400")
        assert there_and_back(edge, worker.v4, 1.0) is None, "it is a black hole"
        began = time.monotonic()
        wait_until(lambda: watch.path["mtu"]["lowered"], 10, "the hole found")
        lowered = watch.path["mtu"]["lowered"]
        # 1400 bytes are IPv4 (20), UDP (8), WireGuard (32), and what it carries, padded to 16.
        assert lowered == 1328
        assert watch.path["state"] == "good"
        wait_until(lambda: f"mtu {lowered}" in routes(edge), 5, "the routes' MTU lowered")
        print(f"found and mended after {time.monotonic() - began:.1f} s")
        for address, headers in ((worker.v4, 40), (worker.v6, 60)):
            mss = there_and_back(edge, address, 5.0)
            assert mss, f"64 KiB pass to {address} and back"
            assert mss <= lowered - headers
        assert watch.problem(worker.v4) is watch.problem(worker.v6) is None
        heal(edge)
        time.sleep(2.5)
        assert watch.path["mtu"]["lowered"] == lowered, "larger ones were tried, and not in pieces"
        heal(worker)
        wait_until(lambda: "mtu 1328" not in routes(edge), 10, "the underlay's mending found")
        assert watch.path["mtu"] == {"configured": 1420, "proven": 1420, "lowered": None}
        said = [note for note in watch.notes if note.startswith("path")]
        assert len(said) == 2, said
        assert "larger than 1328 bytes vanish" in said[0]


def routes(node: Node) -> str:
    shown = (
        netns.run(["ip", "-n", node.namespace, family, "route", "show", "dev", node.device])
        for family in ("-4", "-6")
    )
    return "".join(shown)


def test_a_hole_that_swallows_all_of_use_is_a_problem(nodes: tuple[Node, Node]) -> None:
    """Found over IPv6: the worker answers no other echoes."""
    edge, worker = nodes
    drop_echoes(worker, "icmp")
    with watching(edge, worker, min_mtu=1000) as watch:
        wait_until(lambda: watch.path["mtu"]["proven"] == 1420, 10, "the full size proven")
        drop(worker, "meta length > 1200")
        wait_until(lambda: watch.path["mtu"]["lowered"], 10, "the hole found")
        assert watch.problem(worker.v4) is None
        wait_until(lambda: "IPv6 needs 1280" in (watch.problem(worker.v6) or ""), 5, "told")
        drop(worker, "meta length > 800")
        wait_until(lambda: watch.path["state"] == "black-hole", 10, "no size of use passes")
        assert watch.problem(worker.v4) == watch.path["reason"]
        heal(worker)
        wait_until(lambda: watch.path["state"] == "good", 10, "good again")
        assert watch.problem(worker.v6) is None


def test_a_host_that_filters_large_echoes_alone_stays_up(nodes: tuple[Node, Node]) -> None:
    """Which is told from a black hole by nothing but that none was ever answered."""
    edge, worker = nodes
    drop_echoes(worker, "icmp, ipv6-icmp", "meta length > 500")
    with server(worker, []), watching(edge, worker) as watch:
        wait_until(lambda: watch.path["state"] == "large-lost", 10, "said")
        assert watch.problem(worker.v4) is watch.problem(worker.v6) is None
        assert there_and_back(edge, worker.v4, 5.0), "all passes but echoes"
        assert "mtu" not in routes(edge), "nothing is lowered"


def test_packets_that_do_not_arrive_there_are_told_from_those_that_do_not_arrive_here(
    tmp_path: Path,
) -> None:
    """Handshakes pass in both."""
    with pair(tmp_path) as (edge, worker):
        edge.ensure(worker)
        worker.ensure(edge)
        with watching(edge, worker) as watch:
            wait_until(lambda: watch.path["state"] == "good", 10, "good at first")
            drop(worker, DATA)
            wait_until(lambda: watch.path["direction"] == "out", 15, "out, by its keepalives")
            assert watch.path["state"] == "one-way"
            assert "ours do not arrive there" in (watch.problem(worker.v4) or "")
            heal(worker)
            wait_until(lambda: watch.path["state"] == "good", 15, "good again")
            drop(edge, DATA)
            wait_until(lambda: watch.path["direction"] == "in", 30, "in, by answered handshakes")
            assert "no packet of it arrives here" in (watch.problem(worker.v6) or "")


def test_a_host_that_filters_echoes_stays_up(nodes: tuple[Node, Node]) -> None:
    edge, worker = nodes
    drop_echoes(worker, "icmp, ipv6-icmp")
    with watching(edge, worker) as watch:
        wait_until(lambda: watch.path["loss"] == 1.0, 10, "echoes lost")
        time.sleep(2.5)
        assert watch.path["state"] == "unknown", "it never answered one"
        assert watch.problem(worker.v4) is None

        def filtered() -> bool:
            watch.workers[ip_address(worker.v4)] = time.monotonic()
            return bool(watch.path["state"] == "echo-filtered")

        wait_until(filtered, 10, "its workers heeded")
        assert watch.problem(worker.v4) is watch.problem(worker.v6) is None
        worker.nft("delete table inet e")
        wait_until(lambda: watch.path["state"] == "good", 10, "good")
