"""The units on Debian 12, whose systemd is 252: it knows every word of them, and holds to it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.system.conftest import install
from tests.system.machine import Machine
from tests.system.test_units import OURS, service
from tests.system.tree import PROJECT, debian


@pytest.fixture(scope="module")
def bookworm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    directory = tmp_path_factory.mktemp("bookworm")
    machine = Machine("bookworm", debian("bookworm"), directory)
    try:
        install(machine.files)
        machine.start()
        machine.run("systemctl start systemd-networkd")
        yield machine
    finally:
        machine.close()


def test_it_knows_every_key(bookworm: Machine) -> None:
    units = " ".join(map(service, (*OURS, "bird")))
    assert bookworm.run(f"systemd-analyze verify edgenode.target {units}") == ""
    journal = bookworm.run("journalctl -q --no-pager -t systemd -t systemd-networkd")
    assert "Unknown" not in journal
    assert bookworm.run("stat -c '%a %U %G' /var/lib/edgenode/bird") == "2750 edgenode bird\n"


def test_users_have_fixed_numbers(bookworm: Machine) -> None:
    """What belongs to them in /var outlives the image, whose packages change."""
    text = (PROJECT / "images/node/usr/lib/sysusers.d/edgenode.conf").read_text()
    users = re.findall(r"^u (\S+) +(\S+) ", text, re.MULTILINE)
    assert len(users) == 4
    for name, number in users:
        assert bookworm.run(f"id -u {name}; id -g {name}").split() == [number, number]


@pytest.mark.parametrize("name", OURS)
def test_the_sandbox(bookworm: Machine, name: str) -> None:
    said = bookworm.run(f"systemd-analyze security --no-pager --threshold=25 {service(name)}")
    assert "exposure level" in said
