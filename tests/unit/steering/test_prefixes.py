"""Prefix lists decide as a routing table does."""

from __future__ import annotations

import time
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenode.steering.prefixes import Prefixes, address_of, prefix_of

# Few different bits, so that prefixes hold each other and the addresses.
v4 = st.builds(
    lambda value, length: f"{ip_address((value << 28) & _mask(32, length))}/{length}",
    st.integers(0, 15),
    st.integers(0, 32),
)
v6 = st.builds(
    lambda value, length: (
        f"{ip_address(((value << 124) + (1 << 100)) & _mask(128, length))}/{length}"
    ),
    st.integers(0, 15),
    st.integers(20, 128),
)
lists = st.lists(v4 | v6, max_size=8, unique=True).map(tuple)
addresses = st.builds(
    lambda value, v6: str(ip_address((value << 124) + (1 << 100) if v6 else value << 28)),
    st.integers(0, 15),
    st.booleans(),
)


def _mask(bits: int, length: int) -> int:
    return ((1 << bits) - 1) >> (bits - length) << (bits - length)


@given(lists, lists, addresses)
def test_the_most_specific_prefix_decides(
    allow: tuple[str, ...], deny: tuple[str, ...], host: str
) -> None:
    deny = tuple(one for one in deny if one not in allow)
    found = Prefixes(allow, deny)
    holding = [one for one in allow + deny if ip_address(host) in ip_network(one)]
    best = max(holding, key=lambda one: ip_network(one).prefixlen, default=None)
    assert found.decide(address_of(host)) is (None if best is None else best in allow)
    assert found.otherwise is (not allow)


def test_an_ipv4_address_in_ipv6_clothes_is_one_of_ipv4() -> None:
    found = Prefixes((), ("192.0.2.0/24",))
    assert found.decide(address_of("::ffff:192.0.2.7")) is False
    assert found.decide(address_of("::ffff:192.0.3.7")) is None


@pytest.mark.parametrize(
    "text",
    ["192.0.2.1/24", "192.0.2.0/33", "2001:db8::/129", "x/8", "", "192.0.2.0/", "::1%lo/128"],
)
def test_what_is_no_prefix(text: str) -> None:
    with pytest.raises(ValueError):
        prefix_of(text)


def test_a_prefix_in_both_lists() -> None:
    with pytest.raises(ValueError, match="both allowed and denied"):
        Prefixes(("192.0.2.0/24",), ("192.0.2.0/24",))


def test_thousands_of_prefixes_cost_no_more_than_a_few() -> None:
    """Compared with itself, so that a busy machine does not matter."""

    def cost(found: Prefixes) -> float:
        address = address_of("203.0.113.9")
        times = []
        for _ in range(20):
            began = time.perf_counter()
            for _ in range(500):
                found.decide(address)
            times.append(time.perf_counter() - began)
        return min(times)

    few = Prefixes((), ("192.0.2.0/24", "10.0.0.0/24"))
    many = Prefixes((), tuple(f"10.{n >> 8}.{n & 255}.0/24" for n in range(20_000)))
    assert cost(many) < 5 * cost(few)
