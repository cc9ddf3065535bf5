"""A transit's BIRD: a tiny client of its control socket, and its routes as it holds them."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgenode.lab.errors import LabError

GRACEFUL_SHUTDOWN = (65535, 0)


@dataclass(frozen=True)
class Route:
    """A route as a transit holds it; `edge` is where it came from in the end, whoever told."""

    prefix: str
    protocol: str
    best: bool
    as_path: tuple[int, ...] = ()
    communities: frozenset[tuple[int, int]] = field(default_factory=frozenset)
    local_pref: int | None = None
    med: int | None = None
    edge: str | None = None

    @property
    def drained(self) -> bool:
        """Whether it carries GRACEFUL_SHUTDOWN (RFC 8326)."""
        return GRACEFUL_SHUTDOWN in self.communities


def ask(path: Path, command: str, timeout: float = 5.0) -> str:
    """Give a command to a BIRD and return its reply, without codes. Raises LabError."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(timeout)
            client.connect(str(path))
            with client.makefile("rw", encoding="utf-8", newline="\n") as stream:
                _reply(stream.readline)
                stream.write(command + "\n")
                stream.flush()
                return _reply(stream.readline)
    except (OSError, EOFError) as error:
        raise LabError(f"{path}: BIRD does not answer {command!r}: {error}") from None


def _reply(readline: Callable[[], str]) -> str:
    """Lines up to and with the one that has a code and a space (doc/reply_codes in BIRD)."""
    lines = []
    while line := readline():
        coded = line[:4].isdigit()
        if not line.startswith("+"):
            lines.append(line[5:] if coded else line[1:])
        if coded and line[4:5] == " ":
            return "".join(lines)
    raise EOFError("the connection ended within a reply")


_TABLE = re.compile(r"^Table \S+:$")
_ROUTE = re.compile(r"^(?P<prefix>\S+)?\s+\w+ \[(?P<protocol>\S+) [^]]*\](?P<rest>.*)$")


def parse_routes(text: str, edges: Mapping[int, str]) -> tuple[Route, ...]:
    """The routes in the reply to `show route … all` (BIRD 2); `edges` by their numbers."""
    found: list[dict[str, object]] = []
    prefix = ""
    for line in text.splitlines():
        if _TABLE.match(line):
            continue
        if head := _ROUTE.match(line):
            prefix = head["prefix"] or prefix
            best = head["rest"].lstrip().startswith("*")
            found.append({"prefix": prefix, "protocol": head["protocol"], "best": best})
        elif found and (attribute := _attribute(line.strip(), edges)):
            found[-1].update(attribute)
    return tuple(Route(**route) for route in found)  # type: ignore[arg-type]


def _attribute(line: str, edges: Mapping[int, str]) -> dict[str, object]:
    name, _, value = line.partition(":")
    match name:
        case "BGP.as_path":
            return {"as_path": tuple(int(asn) for asn in value.split() if asn.isdigit())}
        case "BGP.local_pref":
            return {"local_pref": int(value)}
        case "BGP.med":
            return {"med": int(value)}
        case "BGP.community":
            pairs = re.findall(r"\((\d+),\s*(\d+)\)", value)
            return {"communities": frozenset((int(a), int(b)) for a, b in pairs)}
        case "BGP.large_community":
            triples = re.findall(r"\((\d+),\s*(\d+),\s*(\d+)\)", value)
            return {"edge": edges.get(int(triples[0][2]))} if triples else {}
    return {}


def established(text: str) -> dict[str, bool]:
    """From the reply to `show protocols`: BGP session → whether it is established."""
    rows = (line.split() for line in text.splitlines())
    # Name, Proto, Table, State, Since (date and time), Info, and perhaps an error.
    return {row[0]: row[6:7] == ["Established"] for row in rows if row[1:2] == ["BGP"]}
