"""What a node has around it: a transit router that speaks BGP, on a veth link."""

from __future__ import annotations

import re
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import dns.message
import dns.rdatatype
import dns.rrset

from edgenode.lab.netns import inside
from tests.system.machine import Machine, end_with_parent, ip

_BIRD = """
log stderr all;
router id 198.51.100.1;
protocol device {{ }}
protocol bgp edge {{
  debug {{ routes }};
  local 198.51.100.1 as 64601; neighbor 198.51.100.2 as 64700;
  hold time 9; connect delay time 0; connect retry time 1; error wait time 1, 1;
  password "a shared secret";
  ipv4 {{ import all; export none; }};
}}
"""


class Outside:
    """The transit router's namespace: 198.51.100.1; the machine's card is 198.51.100.2."""

    def __init__(self, machine: Machine, directory: Path) -> None:
        self.namespace = f"{machine.namespace}-o"
        self._config = directory / "outside.conf"
        self._socket = directory / "outside.ctl"
        ip("netns", "add", self.namespace)
        ip("-n", self.namespace, "link", "set", "lo", "up")
        link = "link add eth0 type veth peer name eth0 netns"
        ip("-n", self.namespace, *link.split(), machine.namespace)
        for namespace, last in ((self.namespace, 1), (machine.namespace, 2)):
            ip("-n", namespace, *f"addr add 198.51.100.{last}/30 dev eth0".split())
            ip("-n", namespace, "link", "set", "eth0", "up")
        self._config.write_text(_BIRD.format())
        self._bird = start_bird(self.namespace, self._config)

    def routes(self) -> set[str]:
        """The prefixes that the node announces."""
        said = subprocess.run(
            ["birdc", "-s", str(self._socket), "show", "route"],
            capture_output=True,
            text=True,
            check=False,
            timeout=10,
        ).stdout
        return set(re.findall(r"^(\d[0-9.]+/\d+)", said, re.MULTILINE))

    def seen(self, prefix: str) -> list[str]:
        """What happened to a prefix, in order: "added", "removed"."""
        text = self._config.with_suffix(".log").read_text()
        return re.findall(rf"> (added|removed) \[\w+\] {re.escape(prefix)} ", text)

    def wait_routes(self, *prefixes: str, timeout: float = 20.0) -> float:
        """Seconds until the node announces just these. Raises AssertionError."""
        started = time.monotonic()
        while (found := self.routes()) != set(prefixes):
            if time.monotonic() - started > timeout:
                raise AssertionError(f"{found}, and not {set(prefixes)}, after {timeout:g} s")
            time.sleep(0.05)
        return time.monotonic() - started

    @contextmanager
    def resolving(self, name: str, address: str) -> Iterator[None]:
        """It is a resolver that knows this name, for IPv4."""
        with inside(self.namespace):
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.bind(("198.51.100.1", 53))
            sock.settimeout(0.1)
        over = threading.Event()

        def serve() -> None:
            while not over.is_set():
                with suppress(TimeoutError):
                    data, source = sock.recvfrom(4096)
                    answer = dns.message.make_response(dns.message.from_wire(data))
                    (asked,) = answer.question
                    if (asked.name.to_text(True), asked.rdtype) == (name, dns.rdatatype.A):
                        answer.answer.append(
                            dns.rrset.from_text(asked.name, 60, "IN", "A", address)
                        )
                    sock.sendto(answer.to_wire(), source)

        server = threading.Thread(target=serve, daemon=True)
        server.start()
        try:
            yield
        finally:
            over.set()
            server.join()
            sock.close()

    def close(self) -> None:
        """End the router."""
        self._bird.kill()
        self._bird.wait()
        subprocess.run(["ip", "netns", "delete", self.namespace], check=False)


def start_bird(namespace: str, config: Path) -> subprocess.Popen[bytes]:
    """BIRD in a namespace, its socket `.ctl` and log `.log` beside its configuration.

    It ends with the test, however that ends.
    """
    with config.with_suffix(".log").open("ab") as log:
        return subprocess.Popen(
            [
                *("ip", "netns", "exec", namespace, "bird", "-f"),
                *("-c", str(config), "-s", str(config.with_suffix(".ctl"))),
                *("-P", str(config.with_suffix(".pid"))),
            ],
            stdout=log,
            stderr=log,
            preexec_fn=end_with_parent,
        )
