"""Which services may listen on the same address: those that a TLS hello tells apart. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from edgenode.steering.routing import DEFAULT, asked, spell

_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_SERVER_NAME = re.compile(rf"(\*\.)?({_LABEL}\.)*{_LABEL}")
_PROTOCOL = re.compile(r"[!-~]{1,255}")


def is_server_name(text: str) -> bool:
    """A host's name in lower case as TLS clients send it, or "*." before one."""
    return len(text) <= 255 and _SERVER_NAME.fullmatch(text) is not None


def is_protocol(text: str) -> bool:
    """A protocol's name as in ALPN, such as "h2"."""
    return _PROTOCOL.fullmatch(text) is not None


class Sharer(Protocol):
    """A service, of the configuration or of a table."""

    @property
    def name(self) -> str: ...
    @property
    def listen(self) -> Sequence[object]: ...
    @property
    def sni(self) -> Sequence[str]: ...
    @property
    def alpn(self) -> Sequence[str]: ...
    @property
    def accept_proxy(self) -> Sequence[object]: ...
    @property
    def hello_timeout(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Clash:
    """What the `second` of two services that share an address must change, and its key."""

    first: int
    second: int
    key: str
    what: str


def clashes(services: Sequence[Sharer]) -> Iterator[Clash]:
    """Which services cannot share an address that they share; each pair is told once."""
    sharing: dict[object, list[int]] = {}
    for place, service in enumerate(services):
        for listen in dict.fromkeys(service.listen):
            sharing.setdefault(listen, []).append(place)
    told: set[tuple[int, int]] = set()
    for listen, places in sharing.items():
        for clash in _at(services, places, f"{listen}"):
            if (clash.first, clash.second) not in told:
                told.add((clash.first, clash.second))
                yield clash


def _at(services: Sequence[Sharer], places: Sequence[int], listen: str) -> Iterator[Clash]:
    taken: dict[tuple[str, str], int] = {}
    first = places[0]
    for place in places:
        service, one = services[place], services[first]
        if set(service.accept_proxy) != set(one.accept_proxy):
            what = f'must be as of service "{one.name}", which listens on {listen} too'
            yield Clash(first, place, "accept_proxy", what)
        elif service.hello_timeout != one.hello_timeout:
            what = f'must be as of service "{one.name}", which listens on {listen} too'
            yield Clash(first, place, "hello_timeout", what)
        for want in asked(service.sni, service.alpn):
            other = taken.setdefault(want, place)
            if other != place:
                yield Clash(other, place, *_told(services[other].name, want, listen))
                break


def _told(other: str, want: tuple[str, str], listen: str) -> tuple[str, str]:
    if want == DEFAULT:
        return "listen", (
            f'service "{other}" listens on {listen} too, and neither has `sni` or `alpn`, by which'
            " a TLS client would be known: give one of them either, or another address"
        )
    return "sni" if want[0] else "alpn", (
        f'service "{other}", which listens on {listen} too, has {spell(want)} already'
    )
