"""The kernel's part: addresses, and no packet that travels in circles."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from pyroute2 import NetNS

from edgenode.bgp.kernel import KernelError, prepare
from edgenode.config import Group

if TYPE_CHECKING:
    from tests.lab.bgp.conftest import World

GROUP = Group.model_validate(
    {
        "name": "web",
        "prefixes": ["203.0.113.0/24", "2001:db8:113::/48"],
        "addresses": ["203.0.113.1", "2001:db8:113::1"],
        "checks": ["nginx"],
    }
)
# An IPv4 packet with a router's own address as its source would not be taken back by that router.
SEND = """
import socket
addresses = socket.inet_aton("192.0.2.99") + socket.inet_aton("203.0.113.77")
header = bytes.fromhex("450000150000000040fd0000") + addresses
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
raw.sendto(header + b"x", ("203.0.113.77", 0))
socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).sendto(b"x", ("2001:db8:113::77", 9))
"""


@pytest.fixture
def netlink(world: World) -> Iterator[NetNS]:
    with NetNS(world.edge) as opened:
        yield opened


@pytest.fixture
def circle(world: World) -> None:
    """The upstream sends the prefixes to the edge, and the edge has its default route there."""
    for node in ("edge", "upstream"):
        for setting in ("ipv4.ip_forward=1", "ipv6.conf.all.forwarding=1"):
            world.run(f"sysctl -qw net.{setting}", node=node)
        for device in ("all", "v0"):
            world.run(f"sysctl -qw net.ipv4.conf.{device}.rp_filter=0", node=node)
    world.run("ip route add default via 198.51.100.3")
    world.run("ip -6 route add default via 2001:db8:ffff::3")
    world.run("ip route add 203.0.113.0/24 via 198.51.100.2", node="upstream")
    world.run("ip -6 route add 2001:db8:113::/48 via 2001:db8:ffff::2", node="upstream")


def forwarded(world: World) -> tuple[int, int]:
    """Packets that the edge has sent on, per family."""
    rows = [line.split() for line in world.run("cat /proc/net/snmp").splitlines()]
    head, values = (row for row in rows if row[0] == "Ip:")
    v4 = int(dict(zip(head, values, strict=True))["ForwDatagrams"])
    v6 = dict(line.split() for line in world.run("cat /proc/net/snmp6").splitlines())
    return v4, int(v6["Ip6OutForwDatagrams"])


def send(world: World) -> tuple[int, int]:
    """One packet per family to an unused address; gives how often the edge sent it back."""
    before = forwarded(world)
    world.run(sys.executable, "-c", SEND, node="upstream")
    time.sleep(0.3)  # 32 rounds over a veth pair, and the neighbors found before
    after = forwarded(world)
    return after[0] - before[0], after[1] - before[1]


@pytest.mark.usefixtures("circle")
def test_a_packet_to_an_unused_address_ends_here(world: World, netlink: NetNS) -> None:
    loops = send(world)
    assert min(loops) > 10, "the trap is there"
    prepare(GROUP, netlink)
    assert send(world) == (0, 0)


def test_addresses_are_there_at_once_and_twice_is_the_same(world: World, netlink: NetNS) -> None:
    for _ in range(2):
        prepare(GROUP, netlink)
        text = world.run("ip addr show dev lo")
        assert text.count("203.0.113.1/32") == text.count("2001:db8:113::1/128") == 1
        assert "tentative" not in text
        assert world.run("ip route show type blackhole").count("203.0.113.0/24") == 1
        assert world.run("ip -6 route show type blackhole").count("2001:db8:113::/48") == 1


def test_a_real_route_to_the_prefix_is_preferred(world: World, netlink: NetNS) -> None:
    prepare(GROUP, netlink)
    world.run("ip route add 203.0.113.0/24 via 198.51.100.3 metric 100000")
    assert "via 198.51.100.3" in world.run("ip route get 203.0.113.77")


def test_no_device(netlink: NetNS) -> None:
    group = GROUP.model_copy(update={"address_device": "none0"})
    with pytest.raises(KernelError, match=r"no device none0 .* set address_device"):
        prepare(group, netlink)


async def test_from_a_thread_of_a_program_that_has_an_event_loop(world: World) -> None:
    def work() -> None:
        with NetNS(world.edge) as netlink:
            prepare(GROUP, netlink)

    await asyncio.to_thread(work)
    assert "203.0.113.1/32" in world.run("ip addr show dev lo")
