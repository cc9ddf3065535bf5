"""Who would lock himself out by a run."""

from __future__ import annotations

import pytest

from edgenode.inventory import locked_out

FROM = "198.51.100.7 50000 198.51.100.3 22"
KEY = "ssh-ed25519 AAAAmine0123456789"
MINE = f"{KEY} operator"
THEIRS = "ssh-ed25519 AAAAtheirs"


@pytest.mark.parametrize(
    ("login", "management", "keys", "said"),
    [
        (FROM, ["198.51.100.0/24"], None, []),
        (FROM, ["192.0.2.0/24", "2001:db8::/32"], None, ["no network with 198.51.100.7"]),
        ("::ffff:198.51.100.7 1 :: 22", ["198.51.100.0/24"], None, []),
        ("2001:db8::7 1 2001:db8::3 22", ["2001:db8::/32"], None, []),
        ("fe80::1%eth0 1 fe80::2%eth0 22", ["2001:db8::/32"], None, ["no network with fe80::1,"]),
        ("UNKNOWN 1 UNKNOWN 22", ["192.0.2.0/24"], None, []),
        # A worker has no firewall of ours; over no SSH nobody can be locked out.
        (FROM, None, None, []),
        ("", ["192.0.2.0/24"], [THEIRS], []),
        (f"{FROM}\npublickey {KEY}", None, [THEIRS, f'from="192.0.2.1" {MINE}'], []),
        (f"{FROM}\npublickey {KEY}", None, [THEIRS], ["(ssh-ed25519 …ne0123456789): add it"]),
        (f"{FROM}\npublickey {KEY}", None, None, []),
        (f"{FROM}\npublickey ssh-ed25519-cert-v01@openssh.com AAAAx", None, [MINE], ["cert-"]),
        (
            f"{FROM}\npublickey ssh-ed25519-cert-v01@openssh.com AAAAx",
            None,
            [f"cert-authority {THEIRS}"],
            [],
        ),
    ],
)
def test_a_list_without_the_operator_is_refused(
    login: str, management: list[str] | None, keys: list[str] | None, said: list[str]
) -> None:
    found = list(locked_out(login, management, keys))
    assert len(found) == len(said)
    for sentence, part in zip(found, said, strict=True):
        assert part in sentence
