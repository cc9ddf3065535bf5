"""Under the baseline no user is let in, and so no neighbor is told of any prefix."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.firewall.test_rules import load, rules, run

BASELINE = Path(__file__).parents[3] / "images/node/usr/share/edgenode/baseline.nft"
NODE, NEIGHBOR = "198.51.100.2", "198.51.100.1"

_numbers = itertools.count()

TRY = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), 2.0)
    print("through")
except ConnectionRefusedError:
    print("refused")
except TimeoutError:
    print("dropped")
"""

# A session that stands: either end says something once a line comes, and tells how that ended.
SESSION = """
import socket, sys
if len(sys.argv) == 2:
    end, _ = socket.create_server((sys.argv[1], 179)).accept()
else:
    end = socket.create_connection((sys.argv[2], 179), 10.0, (sys.argv[1], 0))
end.settimeout(5.0)
print("up", flush=True)
sys.stdin.readline()
try:
    end.send(b"keepalive")
    while end.recv(100):
        pass
    print("closed")
except (ConnectionResetError, BrokenPipeError):
    print("reset")
except TimeoutError:
    print("stands")
"""


@pytest.fixture
def spaces() -> Iterator[tuple[str, str]]:
    """A node and its neighbor on one link."""
    node = f"t-fw-{os.getpid()}-b{next(_numbers)}"
    neighbor = f"{node}-o"
    try:
        for name in (node, neighbor):
            run("ip", "netns", "add", name)
        run(
            "ip",
            "link",
            "add",
            "v0",
            "netns",
            node,
            "type",
            "veth",
            "peer",
            "v0",
            "netns",
            neighbor,
        )
        for name, address in ((node, NODE), (neighbor, NEIGHBOR)):
            run("ip", "-n", name, "addr", "add", f"{address}/30", "dev", "v0")
            for device in ("lo", "v0"):
                run("ip", "-n", name, "link", "set", device, "up")
        yield node, neighbor
    finally:
        for name in (node, neighbor):
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def start(namespace: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["ip", "netns", "exec", namespace, "python3", "-c", SESSION, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("called", [NODE, NEIGHBOR])
@pytest.mark.parametrize("speaks", ["node", "neighbor"])
def test_a_bgp_session_that_stands_ends(spaces: tuple[str, str], called: str, speaks: str) -> None:
    """Whoever called, and whoever speaks first: both ends see it, and the neighbor withdraws."""
    server, client = spaces if called == NODE else spaces[::-1]
    caller = NEIGHBOR if called == NODE else NODE
    ends = {server: start(server, called)}
    run("ip", "netns", "exec", server, "sh", "-c", "until ss -ltn | grep -q :179; do :; done")
    ends[client] = start(client, caller, called)
    for end in ends.values():
        assert end.stdout
        assert end.stdout.readline() == "up\n"
    load(spaces[0], BASELINE.read_text())
    first = spaces[0] if speaks == "node" else spaces[1]
    for end in (ends.pop(first), *ends.values()):
        said, _ = end.communicate("\n", timeout=20)
        assert said in ("reset\n", "closed\n")


def test_no_bgp_session_begins(spaces: tuple[str, str]) -> None:
    node, neighbor = spaces
    load(node, BASELINE.read_text())
    servers = [
        subprocess.Popen(
            ["ip", "netns", "exec", name, "python3", "-c", LISTEN], stdout=subprocess.PIPE
        )
        for name in spaces
    ]
    try:
        for server in servers:
            assert server.stdout
            server.stdout.readline()
        for here, there, outcomes in (
            (neighbor, NODE, ["refused", "through"]),
            (node, NEIGHBOR, ["refused", "through"]),
            (node, NODE, ["through", "through"]),  # a proxy of one's own, over lo
        ):
            tried = [
                run("ip", "netns", "exec", here, "python3", "-c", TRY, there, port).strip()
                for port in ("179", "22")
            ]
            assert tried == outcomes, (here, there)
    finally:
        for server in servers:
            server.kill()
            server.communicate()


LOADED = "from edgenode.firewall import trial; print(trial._loaded())"


def test_it_is_not_taken_for_rules_of_a_configuration(spaces: tuple[str, str]) -> None:
    for text, loaded in ((BASELINE.read_text(), "False"), (rules(), "True")):
        load(spaces[0], text)
        asked = run("ip", "netns", "exec", spaces[0], sys.executable, "-c", LOADED)
        assert asked.strip() == loaded


LISTEN = """
import socket, time
kept = [socket.create_server(("", port)) for port in (179, 22)]
print("ready", flush=True)
time.sleep(60)
"""
