"""Which source addresses a service takes connections from. Pure.

The most specific prefix that holds an address decides, as in a routing table. Where none does, it
is admitted if there is no allow list, else refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from socket import AF_INET, AF_INET6, inet_pton

_MAPPED = 0xFFFF << 32
"""The first 96 bits of an IPv4 address that is written as an IPv6 one (RFC 4291, 2.5.5.2)."""

Address = tuple[int, int]
"""Number of bits (32 or 128) and the address as a number."""


def address_of(host: str) -> Address:
    """The address in this text; one that is IPv4 mapped into IPv6 is the IPv4 one.

    Raises OSError.
    """
    if ":" not in host:
        return 32, int.from_bytes(inet_pton(AF_INET, host), "big")
    value = int.from_bytes(inet_pton(AF_INET6, host.partition("%")[0]), "big")
    if value & ~0xFFFFFFFF == _MAPPED:
        return 32, value & 0xFFFFFFFF
    return 128, value


def prefix_of(text: str) -> tuple[int, int, int]:
    """Bits of the address, the prefix's length and its bits of "192.0.2.0/24".

    Raises ValueError where bits are set beyond the length, or it is no prefix.
    """
    host, slash, length = text.partition("/")
    try:
        bits, value = _parse(host)
    except OSError:
        raise ValueError(f"{text!r} is not a prefix") from None
    if not slash:
        return bits, bits, value
    if not (length.isascii() and length.isdigit() and int(length) <= bits):
        raise ValueError(f"{text!r} has no prefix length between 0 and {bits}")
    rest = bits - int(length)
    if value & ((1 << rest) - 1):
        raise ValueError(f"{text!r} has bits set beyond its length")
    return bits, int(length), value >> rest


def _parse(host: str) -> Address:
    if ":" in host:
        return 128, int.from_bytes(inet_pton(AF_INET6, host), "big")
    return 32, int.from_bytes(inet_pton(AF_INET, host), "big")


class Prefixes:
    """An allow and a deny list. A question costs a look into a dictionary for each length in use,
    however many prefixes there are.

    Raises ValueError for a prefix that is malformed, or that both lists have.
    """

    def __init__(self, allow: Sequence[str], deny: Sequence[str]) -> None:
        tables: dict[tuple[int, int], dict[int, bool]] = {}
        self._otherwise = True
        for texts, admits in ((allow, True), (deny, False)):
            for text in texts:
                bits, length, value = prefix_of(text)
                known = tables.setdefault((bits, bits - length), {})
                if known.setdefault(value, admits) is not admits:
                    raise ValueError(f"{text!r} is both allowed and denied")
                self._otherwise = self._otherwise and not admits
        # The longest first.
        self._v4, self._v6 = (
            [(rest, tables[family, rest]) for family, rest in sorted(tables) if family == bits]
            for bits in (32, 128)
        )

    @property
    def otherwise(self) -> bool:
        """What holds for an address that no prefix has."""
        return self._otherwise

    def decide(self, address: Address) -> bool | None:
        """Whether a prefix admits the address; None: no prefix has it."""
        bits, value = address
        for rest, table in self._v4 if bits == 32 else self._v6:
            found = table.get(value >> rest)
            if found is not None:
                return found
        return None


@lru_cache(maxsize=64)
def prefixes(allow: tuple[str, ...], deny: tuple[str, ...]) -> Prefixes:
    """The same, made once for lists that are asked for again: thousands take milliseconds."""
    return Prefixes(allow, deny)
