"""The kernel's settings: each with its reason, each a name that the kernel knows, in force."""

from __future__ import annotations

import re
from glob import glob
from pathlib import Path

import pytest

from tests.system.conftest import Node
from tests.system.tree import PROJECT

FILE = PROJECT / "images/node/usr/lib/sysctl.d/60-edgenode.conf"


def settings() -> dict[str, str]:
    lines = (line for line in FILE.read_text().splitlines() if line and line[0] != "#")
    return dict(re.split(r"\s*=\s*", line.removeprefix("-"), maxsplit=1) for line in lines)


def test_each_has_a_reason() -> None:
    """A comment above it, or above the settings of the same name that it stands with."""
    before = ""
    for line in FILE.read_text().splitlines():
        if not line or line[0] == "#":
            before = line
            continue
        assert before.startswith("# "), line
        assert not before.startswith("# --"), line


@pytest.mark.parametrize("name", settings())
def test_the_kernel_knows_it(name: str) -> None:
    if "yama" in name and not Path("/proc/sys/kernel/yama").exists():
        pytest.skip("this kernel is built without it; Debian's has it")
    assert glob("/proc/sys/" + name.replace(".", "/"))


def test_they_are_in_force(node: Node) -> None:
    """What is the namespace's; the machine cannot set what is this host's."""
    machine = node.machine
    machine.run("ip link add late0 type veth peer name late1; systemctl restart systemd-sysctl")
    for name, value in settings().items():
        if re.match(r"net\.ipv[46]\.(?!neigh)", name):
            path = "/proc/sys/" + name.replace(".", "/")
            found = machine.run(f"cat {path}").split("\n")
            assert {" ".join(each.split()) for each in found if each} == {value}, name
