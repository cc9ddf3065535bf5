"""The lab's links: veth within a city, and between cities veth with netem or the delay line."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

from edgenode.lab.errors import LabError
from edgenode.lab.names import namespace
from edgenode.lab.netns import run
from edgenode.lab.topology import Link

# Packets that netem holds at most; the same bound as the delay line's.
NETEM_LIMIT = 10_000


class DelayLinks(Protocol):
    """Links between cities, as they can be changed while the lab runs."""

    def cut(self, link: Link) -> None:
        """Drop everything on a link, silently, in both directions."""

    def heal(self, link: Link) -> None:
        """End a cut."""

    def delay(self, link: Link, rtt: float) -> None:
        """Set a link's round-trip time, in milliseconds."""


def has_netem(scratch: str) -> bool:
    """Whether the kernel has netem: tried on the loopback of a namespace of the lab."""
    try:
        run(["tc", "-n", scratch, "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms"])
    except LabError:
        return False
    run(["tc", "-n", scratch, "qdisc", "del", "dev", "lo", "root"])
    return True


def make_veth(lab: str, link: Link) -> None:
    """Join two nodes by a veth pair. Raises LabError."""
    a, b = link.a, link.b
    near = f"ip link add {a.interface} netns {namespace(lab, a.node)} type veth"
    far = f"peer name {b.interface} netns {namespace(lab, b.node)}"
    run(f"{near} {far}".split())


class NetemLinks:
    """Links of veth pairs with a netem queue at each end."""

    def __init__(self, lab: str) -> None:
        self.lab = lab

    def make(self, links: Iterable[Link]) -> None:
        for link in links:
            make_veth(self.lab, link)
            self.delay(link, link.rtt)

    def _set(self, link: Link, rtt: float, loss: str) -> None:
        for end in (link.a, link.b):
            where = f"tc -n {namespace(self.lab, end.node)} qdisc replace dev {end.interface}"
            what = f"root netem delay {rtt / 2:.3f}ms limit {NETEM_LIMIT} loss {loss}"
            run(f"{where} {what}".split())

    def cut(self, link: Link) -> None:
        self._set(link, link.rtt, "100%")

    def heal(self, link: Link) -> None:
        self._set(link, link.rtt, "0%")

    def delay(self, link: Link, rtt: float) -> None:
        self._set(link, rtt, "0%")


class WireLinks:
    """Links of the delay line (edgenode.lab.link), reached through its socket."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @staticmethod
    def specification(lab: str, links: Iterable[Link]) -> str:
        """What the delay line reads on standard input."""
        return json.dumps(
            [
                {
                    "name": link.name,
                    "delay": link.rtt / 2000,
                    "ends": [[namespace(lab, end.node), end.interface] for end in (link.a, link.b)],
                }
                for link in links
            ]
        )

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """One request to the delay line. Raises LabError."""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
                client.settimeout(5)
                client.connect(str(self.path))
                client.sendall(json.dumps(request).encode() + b"\n")
                with client.makefile("rb") as answers:
                    answer: dict[str, Any] = json.loads(answers.readline() or b"{}")
        except OSError as error:
            raise LabError(f"{self.path}: the delay line does not answer: {error}") from None
        if not answer.get("ok"):
            raise LabError(f"the delay line refused {request}: {answer.get('error', 'no answer')}")
        return answer

    def ready(self) -> bool:
        """Whether the devices are there: the delay line answers only then."""
        with contextlib.suppress(LabError):
            return bool(self.ask({"op": "status"}))
        return False

    def cut(self, link: Link) -> None:
        self.ask({"op": "cut", "link": link.name})

    def heal(self, link: Link) -> None:
        self.ask({"op": "heal", "link": link.name})

    def delay(self, link: Link, rtt: float) -> None:
        self.ask({"op": "delay", "link": link.name, "seconds": rtt / 2000})
