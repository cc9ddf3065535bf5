"""Which service of a listen address a TLS client is for, by name and protocol. Pure.

The most specific wins, the name before the protocol:

1. the very name, with a protocol; the very name
2. the name's wildcards ("*.example.net" stands for all names below example.net, at any depth), the
   longest first, each with a protocol, then without
3. a protocol alone
4. the default: the service that asks for neither

Of several protocols, the one that the client names first. A name that needs another protocol than
the client offers is passed over, as if it were not there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Generic, TypeVar

Place = TypeVar("Place")
Asked = tuple[str, str]
"""A name or wildcard, and a protocol; empty: any."""

DEFAULT: Asked = ("", "")


def asked(sni: Iterable[str], alpn: Iterable[str]) -> Iterator[Asked]:
    """What a service with these names and protocols asks for."""
    protocols = tuple(alpn) or ("",)
    for name in tuple(sni) or ("",):
        for protocol in protocols:
            yield name, protocol


def spell(what: Asked) -> str:
    """For a message: `"a.example" with "h2"`."""
    name, protocol = what
    if not name:
        return f'all names with "{protocol}"' if protocol else "whatever no other takes"
    return f'"{name}" with "{protocol}"' if protocol else f'"{name}"'


class Routes(Generic[Place]):
    """The services of one address. Raises ValueError if two ask for the same."""

    def __init__(self, places: Iterable[tuple[Sequence[str], Sequence[str], Place]]) -> None:
        self._by_name: dict[str, dict[str, Place]] = {}
        self.places: list[Place] = []
        for sni, alpn, place in places:
            self.places.append(place)
            for name, protocol in asked(sni, alpn):
                by_protocol = self._by_name.setdefault(name, {})
                if protocol in by_protocol:
                    raise ValueError(f"two ask for {spell((name, protocol))}")
                by_protocol[protocol] = place

    def choose(self, sni: str, alpn: Sequence[str]) -> tuple[Place, str] | None:
        """The service, and the protocol that it was found by (empty: by none); None: nobody's."""
        for by_protocol in self._levels(sni):
            for protocol in (*alpn, ""):
                if protocol in by_protocol:
                    return by_protocol[protocol], protocol
        return None

    def knows(self, sni: str) -> bool:
        """Whether anybody asks for the name, with whatever protocol."""
        return next(self._levels(sni), None) is not None

    def _levels(self, sni: str) -> Iterator[dict[str, Place]]:
        """The most specific first."""
        for name in _patterns(sni):
            if name in self._by_name:
                yield self._by_name[name]


def _patterns(sni: str) -> Iterator[str]:
    if sni:
        yield sni
        rest = sni
        while rest := rest.partition(".")[2]:
            yield f"*.{rest}"
    yield ""
