"""The machines of these tests are ones, do the host no harm, and leave nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.machine import Machine, MachineError, remove_stale
from tests.system.tree import PROJECT, debian


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine("plain", debian(), tmp_path)
    try:
        yield machine
    finally:
        machine.close()


def test_a_machine_keeps_its_disk_and_not_its_memory(machine: Machine) -> None:
    machine.start()
    assert machine.run("hostname; systemctl is-active ssh") == "plain\nactive\n"
    machine.run("echo kept > /var/lib/kept; touch /run/lost")
    machine.stop()
    machine.start()
    assert machine.run("cat /var/lib/kept; ls /run/lost", check=False).startswith("kept\nls: ")


def test_the_hosts_kernel_settings_are_out_of_reach(machine: Machine) -> None:
    machine.start()
    machine.run("sysctl -w net.ipv4.ip_forward=1")
    # The value that it has: should it be within reach after all, then nothing changes.
    with pytest.raises(MachineError, match="ead-only"):
        machine.run("cat /proc/sys/kernel/panic > /proc/sys/kernel/panic")


_OWNER = """
import pathlib, sys, time
from tests.system.machine import Machine
from tests.system.outside import Outside
from tests.system.tree import debian
directory = pathlib.Path(sys.argv[1])
machine = Machine("doomed", debian(), directory)
outside = Outside(machine, directory)
machine.start()
print(machine.leader, machine.namespace, flush=True)
time.sleep(60)
"""


def test_a_killed_test_leaves_nothing(tmp_path: Path) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", _OWNER, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
    )
    assert owner.stdout is not None
    with owner.stdout:
        leader, namespace = owner.stdout.readline().split()
        owner.kill()
        owner.wait()
    deadline = time.monotonic() + 10
    while Path("/proc", leader).exists() or _with_argument(str(tmp_path)):
        assert time.monotonic() < deadline, "processes of the machine live on"
        time.sleep(0.05)
    remove_stale()
    groups = Path("/proc/self/mounts").read_text().split("\n")
    places = [line.split()[1] for line in groups if " cgroup2 " in line]
    assert places
    assert not Path(places[0], namespace).exists()
    assert not Path("/run/netns", namespace).exists()
    assert not Path("/run/netns", f"{namespace}-o").exists()


def _with_argument(part: str) -> list[str]:
    """The processes that have `part` on their command line."""
    found = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if part.encode() in each.read_bytes():
                found.append(each.parent.name)
        except OSError:
            continue  # it ended meanwhile
    return found
