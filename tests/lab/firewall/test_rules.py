"""The rules in the kernel, and who gets through to real sockets."""

from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgenode.config import Config
from edgenode.firewall import render
from tests.unit.firewall.test_render import RAW

_numbers = itertools.count()

NEIGHBOR, MANAGER, STRANGER = "198.51.100.1", "192.0.2.1", "198.51.100.9"
NODE, ANYCAST, ANYCAST6 = "198.51.100.2", "203.0.113.1", "2001:db8:113::1"
WORKER, IDLE_WORKER, MESH = "198.51.100.201", "198.51.100.202", "198.51.100.193"
FAR, FAR6 = "192.0.2.200", "2001:db8:2::2"

LISTEN = """
import socket, sys, threading
LARGE = b"x" * 100_000

def serve(listener):
    while True:
        user, _ = listener.accept()
        user.setblocking(False)  # a user may be cut off: what the kernel takes is enough
        try:
            user.send(LARGE)
        except OSError:
            pass
        kept.append(user)

kept = []
for each in sys.argv[1:]:
    address, _, port = each.rpartition(":")
    s = socket.create_server((address, int(port)), family=socket.AF_INET6 if ":" in address
                             else socket.AF_INET)
    threading.Thread(target=serve, args=(s,), daemon=True).start()
print("ready", flush=True)
sys.stdin.read()
"""

CONNECT = """
import socket, sys
source, target, port, from_port, ttl, want = sys.argv[1:]
six = ":" in target
s = socket.socket(socket.AF_INET6 if six else socket.AF_INET)
s.settimeout(1.0)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
if int(ttl):
    s.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, int(ttl))
s.bind((source, int(from_port)))
got = 0
try:
    s.connect((target, int(port)))
    s.settimeout(3.0)
    while got < int(want):
        got += len(s.recv(65536))
    print("through")
except TimeoutError:
    print(f"hung after {got}" if got or int(want) else "dropped")
"""

PING = """
import socket, sys
source, target = sys.argv[1:]
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
s.settimeout(2.0)
s.bind((source, 0))
body = bytes((8, 0, 0, 0, 0, 7, 0, 1))
total = sum(int.from_bytes(body[i : i + 2], "big") for i in range(0, len(body), 2))
s.sendto(body[:2] + (0xFFFF - total).to_bytes(2, "big") + body[4:], (target, 0))
while s.recvfrom(1500)[0][20:28][0] != 0:
    pass
print("answer")
"""


def run(*command: str) -> str:
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30)
    return done.stdout


def connect(
    namespace: str,
    source: str,
    target: str,
    port: int,
    from_port: int = 0,
    ttl: int = 0,
    want: int = 0,
) -> str:
    """What became of a connection of which `want` bytes are to be read."""
    numbers = (str(number) for number in (port, from_port, ttl, want))
    return run(
        *("ip", "netns", "exec", namespace, "python3", "-c", CONNECT, source, target), *numbers
    ).strip()


def listen(namespace: str, *places: str) -> subprocess.Popen[bytes]:
    listener = subprocess.Popen(
        ("ip", "netns", "exec", namespace, "python3", "-c", LISTEN, *places),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert listener.stdout
    assert listener.stdout.readline() == b"ready\n"
    return listener


def load(namespace: str, text: str) -> None:
    enter = ("ip", "netns", "exec", namespace, "nft", "-f", "-")
    subprocess.run(enter, input=text, text=True, check=True)


def rules(**change: object) -> str:
    workers = [
        {"name": "fra-1", "addresses": [WORKER]},
        {"name": "fra-2", "addresses": [IDLE_WORKER]},
    ]
    regions = [{"name": "fra", "workers": workers}]
    config = Config.model_validate({**RAW, "regions": regions, **change})
    assert config.firewall
    return render(config, config.firewall, "tcp dport 81 accept")


WIRES = """
link add v0 netns {node} type veth peer name v0 netns {other}
link add wg0 netns {node} type veth peer name wg0 netns {other}
link add far netns {other} type veth peer name v0 netns {far}
"""

# On the way to `far` a link takes 1000 bytes, which neither end can know.
ADDRESSES = {
    "node": """
        addr add {NODE}/24 dev v0
        addr add 2001:db8:1::2/64 dev v0 nodad
        addr add {ANYCAST}/32 dev v0
        addr add {ANYCAST6}/128 dev v0 nodad
        addr add {MESH}/32 dev wg0
        route add 192.0.2.0/24 via {NEIGHBOR}
        route add 2001:db8:2::/64 via 2001:db8:1::1
        route add 198.51.100.200/29 dev wg0 src {MESH}
    """,
    "other": """
        addr add {NEIGHBOR}/24 dev v0
        addr add {STRANGER}/32 dev v0
        addr add {MANAGER}/32 dev v0
        addr add 2001:db8:1::1/64 dev v0 nodad
        addr add {WORKER}/32 dev wg0
        addr add {IDLE_WORKER}/32 dev wg0
        addr add 192.0.2.129/25 dev far
        addr add 2001:db8:2::1/64 dev far nodad
        link set far mtu 1280
        route add {MESH}/32 dev wg0 src {WORKER}
        route add 203.0.113.0/24 via {NODE}
        route add 2001:db8:113::/48 via 2001:db8:1::2
    """,
    "far": """
        addr add {FAR}/25 dev v0
        addr add {FAR6}/64 dev v0 nodad
        route add default via 192.0.2.129
        route add default via 2001:db8:2::1
    """,
}


@pytest.fixture(scope="module")
def link() -> Iterator[tuple[str, str]]:
    """A node with the rules, and a namespace that is neighbor, manager, stranger and worker in one,
    and the router to one that is far (its namespace: `-f` behind the node's name)."""
    node = f"t-fw-{os.getpid()}-{next(_numbers)}"
    spaces = {"node": node, "other": f"{node}-o", "far": f"{node}-f"}
    listeners: list[subprocess.Popen[bytes]] = []
    try:
        for each in spaces.values():
            run("ip", "netns", "add", each)
        for line in WIRES.strip().splitlines():
            run("ip", *line.format(**spaces).split())
        for name, each in spaces.items():
            devices = {"node": ("v0", "wg0"), "other": ("v0", "wg0", "far"), "far": ("v0",)}
            for device in ("lo", *devices[name]):
                run("ip", "-n", each, "link", "set", device, "up")
            for line in ADDRESSES[name].strip().splitlines():
                run("ip", "-n", each, *line.format(**globals()).split())
        for setting in ("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"):
            run("ip", "netns", "exec", spaces["other"], "sysctl", "-qw", setting)
        load(node, rules())
        load(node, rules())  # again: it replaces itself
        listeners.append(
            listen(
                node,
                *("0.0.0.0:22", "0.0.0.0:179", "0.0.0.0:80", "0.0.0.0:81"),
                *(f"{ANYCAST}:443", f"{ANYCAST6}:8000"),
            )
        )
        listeners.append(listen(spaces["other"], f"{WORKER}:8443", f"{WORKER}:9999"))
        yield node, spaces["other"]
    finally:
        for listener in listeners:
            listener.kill()
            listener.wait()
        for each in spaces.values():
            subprocess.run(["ip", "netns", "del", each], check=False, capture_output=True)


@pytest.mark.parametrize(
    ("source", "target", "port", "outcome"),
    [
        (NEIGHBOR, NODE, 179, "through"),
        (STRANGER, NODE, 179, "dropped"),
        (MANAGER, NODE, 179, "dropped"),
        (MANAGER, NODE, 22, "through"),
        (NEIGHBOR, NODE, 22, "dropped"),
        (STRANGER, ANYCAST, 443, "through"),
        (STRANGER, NODE, 80, "dropped"),
        (STRANGER, NODE, 81, "through"),  # a rule of the operator's own
    ],
)
def test_who_gets_through(
    link: tuple[str, str], source: str, target: str, port: int, outcome: str
) -> None:
    assert connect(link[1], source, target, port) == outcome


def conntrack(node: str) -> str | None:
    """The node's table of connections; None where the kernel does not print it."""
    table = Path("/proc/net/nf_conntrack")
    return run("ip", "netns", "exec", node, "cat", str(table)) if table.exists() else None


def test_users_and_the_mesh_are_not_tracked(link: tuple[str, str]) -> None:
    """A flood of users must not fill a connection table."""
    node, other = link
    assert connect(other, STRANGER, ANYCAST, 443) == "through"
    assert connect(node, MESH, WORKER, 8443) == "through"
    assert connect(other, MANAGER, NODE, 22) == "through"
    send = f"""import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.sendto(b"hello", ("{NODE}", 51820))"""
    run("ip", "netns", "exec", other, "python3", "-c", send)
    tracked = conntrack(node)
    if tracked is None:
        pytest.skip("this kernel does not print its connections")
    assert "dport=22 " in tracked
    assert "dport=443 " not in tracked
    assert "dport=8443 " not in tracked
    assert "dport=51820 " not in tracked


@pytest.mark.parametrize(
    ("source", "target", "port"), [(FAR, ANYCAST, 443), (FAR6, ANYCAST6, 8000)]
)
def test_packet_too_big_passes(link: tuple[str, str], source: str, target: str, port: int) -> None:
    """For connections that are not tracked, too: else large answers hang and small ones work."""
    assert connect(f"{link[0]}-f", source, target, port, want=20_000) == "through"


def test_the_mesh_lets_workers_answer(link: tuple[str, str]) -> None:
    node, _ = link
    assert connect(node, MESH, WORKER, 8443) == "through"
    assert connect(node, MESH, WORKER, 9999) == "dropped", "no service has this port"


@pytest.mark.parametrize("from_port", [0, 8443])
@pytest.mark.parametrize("port", [22, 80, 179])
def test_a_worker_begins_nothing(link: tuple[str, str], from_port: int, port: int) -> None:
    """Nor from the port that its answers come from."""
    assert connect(link[1], IDLE_WORKER, MESH, port, from_port=from_port) == "dropped"


@pytest.mark.parametrize(
    ("source", "target"), [(STRANGER, ANYCAST), (STRANGER, NODE), (WORKER, MESH)]
)
def test_ping(link: tuple[str, str], source: str, target: str) -> None:
    assert run("ip", "netns", "exec", link[1], "python3", "-c", PING, source, target) == "answer\n"


def test_nobody_speaks_from_our_prefixes(link: tuple[str, str]) -> None:
    node, other = link
    run("ip", "-n", other, "addr", "add", "203.0.113.7/32", "dev", "v0")
    run("ip", "-n", node, "route", "add", "203.0.113.7/32", "dev", "v0")
    assert connect(other, "203.0.113.7", ANYCAST, 443) == "dropped"


def test_ttl_security(link: tuple[str, str]) -> None:
    """RFC 5082: who is not on the link cannot have 255."""
    node, other = link
    neighbor = {"name": "n", "address": NEIGHBOR, "asn": 64601, "ttl_security": True}
    load(node, rules(bgp={**RAW["bgp"], "neighbors": [neighbor]}))  # type: ignore[dict-item]
    try:
        assert connect(other, NEIGHBOR, NODE, 179, ttl=255) == "through"
        assert connect(other, NEIGHBOR, NODE, 179, ttl=254) == "dropped"
    finally:
        load(node, rules())


def test_others_tables_stay(link: tuple[str, str]) -> None:
    node, _ = link
    run("ip", "netns", "exec", node, "nft", "add", "table", "inet", "theirs")
    load(node, rules())
    assert "theirs" in run("ip", "netns", "exec", node, "nft", "list", "tables")
