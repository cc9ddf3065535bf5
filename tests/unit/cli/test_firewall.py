"""Who is told that the rules would lock him out."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from edgenode.cli.firewall import _lets_in

MANAGEMENT = [ip_network("192.0.2.0/25"), ip_network("2001:db8:9::/48")]


@pytest.mark.parametrize(
    ("client", "operator", "said"),
    [
        ("192.0.2.7", "", True),
        ("::ffff:192.0.2.7", "", True),
        ("2001:db8:9::7%eth0", "", True),
        ("192.0.2.200", "", False),
        ("2001:db8:8::7", "", False),
        ("UNKNOWN", "", True),
        ("192.0.2.200", "# SSH from everywhere\ntcp dport 22 accept\n", True),
        ("192.0.2.200", "tcp dport { 80, ssh } accept\n", True),
        ("192.0.2.200", "# tcp dport 22 accept\ntcp dport 220 accept\n", False),
        ("192.0.2.200", "ip saddr 198.51.100.22 tcp dport 9100 accept\n", False),
    ],
)
def test_who_is_let_in(client: str, operator: str, said: bool) -> None:
    assert _lets_in(MANAGEMENT, operator, client) is said
