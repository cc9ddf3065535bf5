"""An edge and its upstream: two network namespaces, a veth pair, a BIRD in each.

``EDGENODE_TEST_BIRD`` names another BIRD for the edge than the one on the path.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from edgenode.bgp.announcer import Announcer
from edgenode.bgp.client import BirdClient
from edgenode.config import Config

UPSTREAM_BIRD = shutil.which("bird") or "/usr/sbin/bird"
EDGE_BIRD = os.environ.get("EDGENODE_TEST_BIRD", UPSTREAM_BIRD)
T = TypeVar("T")
_numbers = itertools.count()
_ATTRIBUTES = {
    "as_path": "as_path",
    "community": "communities",
    "large_community": "large",
    "med": "med",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ready = os.geteuid() == 0 and Path(UPSTREAM_BIRD).exists() and shutil.which("ip")
    here = Path(__file__).parent
    for item in items:
        if not ready and here in item.path.parents:
            item.add_marker(pytest.mark.skip(reason="needs root, BIRD and iproute2"))


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=10).stdout


async def wait_for(probe: Callable[[], Awaitable[T]], timeout: float = 8.0) -> T:
    """Ask until the answer is true; gives the answer."""
    end = time.monotonic() + timeout
    while not (answer := await probe()):
        assert time.monotonic() < end, f"still {answer!r} after {timeout} s"
        await asyncio.sleep(0.02)
    return answer


@dataclass(frozen=True)
class Route:
    """A route as the upstream has it."""

    as_path: str = ""
    communities: str = ""
    large: str = ""
    med: str = ""


@dataclass
class Bird:
    """A BIRD process in a namespace."""

    program: str
    namespace: str
    config: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> Path:
        return self.config.with_suffix(".ctl")

    @property
    def log(self) -> str:
        return self.config.with_suffix(".log").read_text()

    def start(self) -> None:
        with self.config.with_suffix(".log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *("ip", "netns", "exec", self.namespace, self.program, "-f"),
                    *("-c", str(self.config), "-s", str(self.socket)),
                    *("-P", str(self.config.with_suffix(".pid"))),
                ],
                stderr=log,
            )

    def signal(self, number: signal.Signals) -> None:
        assert self.process
        self.process.send_signal(number)

    def kill(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait(5)
            self.process = None


@dataclass
class World:
    """The two nodes; the edge's BIRD is not started by itself, the upstream's is."""

    directory: Path
    edge: str
    upstream: str
    raw: dict[str, Any]
    bird: Bird = field(init=False)
    upstream_bird: Bird = field(init=False)
    others: list[Bird] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.bird = Bird(EDGE_BIRD, self.edge, self.directory / "edgenode.conf")
        self.upstream_bird = Bird(UPSTREAM_BIRD, self.upstream, self.directory / "upstream.conf")

    @property
    def config(self) -> Config:
        return Config.model_validate(self.raw)

    wait_for = staticmethod(wait_for)

    def announcer(self, config: Config | None = None, *, timeout: float = 2.0) -> Announcer:
        return Announcer(config or self.config, BirdClient(self.bird.socket, timeout=timeout))

    def start_upstream(self, options: str = "", head: str = "", export: str = "none") -> None:
        self.upstream_bird.config.write_text(
            f"log stderr all;\nrouter id 198.51.100.3;\nprotocol device {{ }}\n{head}\n"
            + "".join(
                f"protocol bgp edge{version} {{\n"
                "  debug { routes };\n"
                f"  local {local} as 64601; neighbor {edge} as 64701;\n"
                "  hold time 9; connect delay time 0; connect retry time 1;\n"
                "  error wait time 1, 1;\n"
                f"  {options}\n"
                f"  ipv{version} {{ import all; export {export}; }};\n"
                "}\n"
                for version, local, edge in (
                    (4, "198.51.100.3", "198.51.100.2"),
                    (6, "2001:db8:ffff::3", "2001:db8:ffff::2"),
                )
            )
        )
        self.upstream_bird.start()

    def start_second_upstream(self, options: str = "") -> Bird:
        """Another neighbor beside the upstream, 198.51.100.4, of AS 64602, for IPv4 alone.

        Both need "strict bind on;" among their options.
        """
        run(*f"ip -n {self.upstream} addr add 198.51.100.4/24 dev v0".split())
        bird = Bird(UPSTREAM_BIRD, self.upstream, self.directory / "second.conf")
        bird.config.write_text(
            "log stderr all;\nrouter id 198.51.100.4;\nprotocol device { }\n"
            "protocol bgp edge4 {\n"
            "  local 198.51.100.4 as 64602; neighbor 198.51.100.2 as 64701; strict bind on;\n"
            "  hold time 9; connect delay time 0; connect retry time 1;\n"
            "  error wait time 1, 1;\n"
            f"  {options}\n"
            "  ipv4 { import all; export none; };\n"
            "}\n"
        )
        self.others.append(bird)
        bird.start()
        return bird

    def cut(self) -> None:
        """Nothing passes between the two any more, and nobody is told: both see a carrier."""
        rules = "".join(
            f"add chain inet cut {hook} {{ type filter hook {hook} priority 0; policy drop; }}\n"
            for hook in ("input", "output")
        )
        path = self.directory / "cut.nft"
        path.write_text(f"add table inet cut\n{rules}")
        self.run("nft -f", str(path), node="upstream")

    def run(self, command: str, *arguments: str, node: str = "edge") -> str:
        """The output of a command in one of the two namespaces; `command` is split at spaces."""
        namespace = self.edge if node == "edge" else self.upstream
        return run("ip", "netns", "exec", namespace, *command.split(), *arguments)

    async def start(self, options: str = "", head: str = "") -> Announcer:
        """Both BIRDs with what the announcer wrote: nothing is announced yet."""
        announcer = self.announcer()
        announcer.write_config()
        self.bird.start()
        self.start_upstream(options, head)
        return announcer

    @asynccontextmanager
    async def running(self, announcer: Announcer) -> AsyncIterator[Announcer]:
        """The announcer at work, and all sessions established."""
        async with self.running_without_sessions(announcer):
            await self.wait_established(announcer)
            yield announcer

    @asynccontextmanager
    async def running_without_sessions(self, announcer: Announcer) -> AsyncIterator[Announcer]:
        """The announcer at work."""
        task = asyncio.create_task(announcer.run())
        try:
            yield announcer
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            await announcer.client.close()

    async def routes(self, bird: Bird | None = None) -> dict[str, Route]:
        """What the upstream, or another BIRD, has."""
        client = BirdClient((bird or self.upstream_bird).socket)
        await client.connect()
        try:
            lines = (await client.ask("show route all")).lines
        finally:
            await client.close()
        routes: dict[str, Route] = {}
        prefix = ""
        for text in (line.text for line in lines):
            if match := re.match(r"([0-9a-f.:]+/\d+)\s", text):
                prefix = match[1]
                routes[prefix] = Route()
            elif (match := re.match(r"\s+BGP\.(\w+): (.*)", text)) and match[1] in _ATTRIBUTES:
                routes[prefix] = replace(routes[prefix], **{_ATTRIBUTES[match[1]]: match[2]})
        return routes

    async def wait_routes(self, *prefixes: str, bird: Bird | None = None) -> dict[str, Route]:
        """Wait until the upstream, or another BIRD, has just these prefixes."""

        async def same() -> dict[str, Route] | bool:
            routes = await self.routes(bird)
            return set(routes) == set(prefixes) and (routes or True)

        routes = await wait_for(same)
        return routes if isinstance(routes, dict) else {}

    def seen(self, prefix: str) -> list[str]:
        """What the upstream's log says of a prefix, in order: "added" or "removed"."""
        found = re.findall(
            rf"> (added|removed) \[\w+\] {re.escape(prefix)} ", self.upstream_bird.log
        )
        return [str(each) for each in found]

    async def wait_established(self, announcer: Announcer) -> None:
        async def established() -> bool:
            sessions = (await announcer.status()).sessions
            return bool(sessions) and all(session.established for session in sessions)

        await wait_for(established)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    name = f"t-bgp-{os.getpid()}-{next(_numbers)}"
    edge, upstream = f"{name}-e", f"{name}-u"
    raw: dict[str, Any] = {
        "node": {"name": "lon1", "run_dir": str(tmp_path)},
        "bgp": {
            "asn": 64701,
            "router_id": "198.51.100.1",
            "socket": str(tmp_path / "edgenode.ctl"),
            "config": str(tmp_path / "edgenode.conf"),
            "neighbors": [
                {
                    "name": "transit",
                    "address": "198.51.100.3",
                    "asn": 64601,
                    "source": "198.51.100.2",
                },
                {"name": "transit-6", "address": "2001:db8:ffff::3", "asn": 64601},
            ],
        },
        "lifeline": {"device": "edgenode0"},
        "groups": [
            {"name": "web", "prefixes": ["203.0.113.0/24", "2001:db8:113::/48"]},
            {"name": "dns", "prefixes": ["192.0.2.0/24"], "on_control_loss": "keep"},
        ],
    }
    world = World(tmp_path, edge, upstream, raw)
    try:
        for each in (edge, upstream):
            run("ip", "netns", "add", each)
        run(*f"ip -n {edge} link add v0 type veth peer name v0 netns {upstream}".split())
        for each, last in ((edge, 2), (upstream, 3)):
            run(*f"ip -n {each} link set lo up".split())
            run(*f"ip -n {each} addr add 198.51.100.{last}/24 dev v0".split())
            run(*f"ip -n {each} addr add 2001:db8:ffff::{last}/64 dev v0 nodad".split())
            run(*f"ip -n {each} link set v0 up".split())
        yield world
    finally:
        world.bird.kill()
        for bird in (world.upstream_bird, *world.others):
            bird.kill()
        for each in (edge, upstream):
            subprocess.run(["ip", "netns", "del", each], check=False, capture_output=True)


@pytest.fixture
def device(world: World) -> None:
    """The device of the announcements, where the test does without a lifeline."""
    run(*f"ip -n {world.edge} tuntap add edgenode0 mode tun".split())
    run(*f"ip -n {world.edge} link set edgenode0 up".split())
