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
NODE = "198.51.100.2"

LISTEN = """
import socket, sys, time
kept = []
for address, port in (("0.0.0.0", 22), ("0.0.0.0", 179), ("203.0.113.1", 443), ("0.0.0.0", 80)):
    s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((address, port)); s.listen(); kept.append(s)
print("ready", flush=True)
sys.stdin.read()
"""

CONNECT = """
import socket, sys
s = socket.socket(); s.settimeout(1.0); s.bind((sys.argv[1], 0))
try:
    s.connect((sys.argv[2], int(sys.argv[3]))); print("through")
except TimeoutError:
    print("dropped")
"""


def run(*command: str) -> str:
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30)
    return done.stdout


@pytest.fixture(scope="module")
def link(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A node with the rules, and a namespace that is neighbor, manager and stranger in one."""
    node = f"t-fw-{os.getpid()}-{next(_numbers)}"
    other = f"{node}-o"
    listener = None
    try:
        for each in (node, other):
            run("ip", "netns", "add", each)
            run("ip", "-n", each, "link", "set", "lo", "up")
        run(*f"ip -n {node} link add v0 type veth peer name v0 netns {other}".split())
        for each, addresses in (
            (node, (f"{NODE}/24", "203.0.113.1/32")),
            (other, (f"{NEIGHBOR}/24", f"{MANAGER}/32", f"{STRANGER}/32")),
        ):
            run("ip", "-n", each, "link", "set", "v0", "up")
            for address in addresses:
                run("ip", "-n", each, "addr", "add", address, "dev", "v0")
        run(*f"ip -n {node} route add 192.0.2.0/24 dev v0".split())
        run(*f"ip -n {other} route add 203.0.113.0/24 dev v0".split())
        config = Config.model_validate(RAW)
        assert config.firewall
        rules = tmp_path_factory.mktemp("firewall") / "rules.nft"
        rules.write_text(render(config, config.firewall, "tcp dport 81 accept"))
        run("ip", "netns", "exec", node, "nft", "-f", str(rules))
        run("ip", "netns", "exec", node, "nft", "-f", str(rules))  # again: it replaces itself
        listener = subprocess.Popen(
            ("ip", "netns", "exec", node, "python3", "-c", LISTEN),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert listener.stdout
        assert listener.stdout.readline() == b"ready\n"
        yield node, other
    finally:
        if listener:
            listener.kill()
            listener.wait()
        for each in (node, other):
            subprocess.run(["ip", "netns", "del", each], check=False, capture_output=True)


@pytest.mark.parametrize(
    ("source", "target", "port", "outcome"),
    [
        (NEIGHBOR, NODE, 179, "through"),
        (STRANGER, NODE, 179, "dropped"),
        (MANAGER, NODE, 179, "dropped"),
        (MANAGER, NODE, 22, "through"),
        (NEIGHBOR, NODE, 22, "dropped"),
        (STRANGER, "203.0.113.1", 443, "through"),
        (STRANGER, NODE, 80, "dropped"),
    ],
)
def test_who_gets_through(
    link: tuple[str, str], source: str, target: str, port: int, outcome: str
) -> None:
    _, other = link
    said = run(*("ip", "netns", "exec", other, "python3", "-c", CONNECT, source, target, str(port)))
    assert said.strip() == outcome


def test_users_are_not_tracked(link: tuple[str, str]) -> None:
    """A flood of users must not fill a connection table."""
    node, other = link
    tracked = Path("/proc/net/nf_conntrack")
    for port, known in ((443, False), (22, True)):
        target, source = ("203.0.113.1", STRANGER) if port == 443 else (NODE, MANAGER)
        connect = ("python3", "-c", CONNECT, source, target, str(port))
        run("ip", "netns", "exec", other, *connect)
        if tracked.exists():
            text = run("ip", "netns", "exec", node, "cat", str(tracked))
            assert (f"dport={port}" in text) is known


def test_others_tables_stay(link: tuple[str, str]) -> None:
    node, _ = link
    enter = ("ip", "netns", "exec", node)
    run(*enter, "nft", "add", "table", "inet", "theirs")
    config = Config.model_validate(RAW)
    assert config.firewall
    subprocess.run(
        (*enter, "nft", "-f", "-"),
        input=render(config, config.firewall),
        text=True,
        check=True,
    )
    assert "theirs" in run(*enter, "nft", "list", "tables")
