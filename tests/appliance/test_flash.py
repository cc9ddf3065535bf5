"""A disk is flashed with an identity, and comes up under it without a console.

Run by `./run test-appliance --flash`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests.appliance.test_appliance import Say, newest_image, say
from tests.appliance.vm import DATA_MAC, TAP, Vm, accelerator
from tests.system.machine import ip

__all__ = ["say"]

pytestmark = [pytest.mark.timeout(1800), pytest.mark.slow]

SIZE = 8 * 1024**3
"""Bytes of the disk, as many as `vm.DISK`."""
IDENTITY = """
hostname = "lon1"
authorized_keys = ["{key}"]
ssh_host_key_file = "host"

[network]
"10-uplink.network" = '''
[Match]
MACAddress={mac}

[Network]
Address=192.0.2.10/24
'''
"""


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vm]:
    """Off, with a disk for an image: `disk.raw` in its directory."""
    directory, namespace = tmp_path_factory.mktemp("flashed"), f"t-flash-{os.getpid()}"
    for key in ("ssh", "host"):
        command = ("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", directory / key)
        subprocess.run(command, check=True)
    with (directory / "disk.raw").open("wb") as file:
        file.truncate(SIZE)
    ip("netns", "add", namespace)
    ip("-n", namespace, "link", "set", "lo", "up")
    ip("-n", namespace, "tuntap", "add", TAP, "mode", "tap")
    ip("-n", namespace, "link", "set", TAP, "up")
    vm = Vm(directory / "disk.raw", directory, namespace, accelerator(), authorize=False)
    try:
        yield vm
    finally:
        vm.close()
        ip("netns", "delete", namespace)


def partitions(vm: Vm) -> dict[str, str]:
    """Devices by their labels."""
    told = json.loads(vm.run("lsblk --json --paths --output name,partlabel"))
    parts = [part for each in told["blockdevices"] for part in each.get("children", ())]
    return {part["partlabel"]: part["name"] for part in parts}


def test_it_is_flashed(node: Vm, say: Say) -> None:
    public = (node.directory / "ssh.pub").read_text().strip()
    identity = node.directory / "lon1.toml"
    identity.write_text(IDENTITY.format(key=public, mac=DATA_MAC))
    attach = ("losetup", "--find", "--show", node.directory / "disk.raw")
    device = subprocess.run(attach, capture_output=True, text=True, check=True).stdout.strip()
    began = time.monotonic()
    try:
        subprocess.run(
            (
                *(sys.executable, "-m", "edgenode.flash", device, "--yes"),
                *("--identity", identity, "--image", newest_image()),
            ),
            check=True,
        )
    finally:
        subprocess.run(("losetup", "--detach", device), check=True)
    say(f"flashed and read back: {time.monotonic() - began:.1f} s")


def test_it_comes_up_under_its_identity(node: Vm, say: Say) -> None:
    host = (node.directory / "host.pub").read_text().split()[:2]
    (node.directory / "known_hosts").write_text(f"[127.0.0.1]:2222 {' '.join(host)}\n")
    node.power_on()
    say(f"power on to SSH: {node.wait_for_ssh():.0f} s ({node.accelerator})")
    assert node.run("hostname").strip() == "lon1"
    assert "192.0.2.10/24" in node.run("ip -4 addr")
    assert node.run("systemctl --failed --no-legend --plain", check=False).strip() == ""
    assert "this node is lon1" in node.run("journalctl -b -u edgenode-identity")


def test_nothing_is_left_where_the_identity_lay(node: Vm) -> None:
    device = partitions(node)["identity"]
    assert node.run(f"tr -d '\\0' < {device} | wc -c").strip() == "0"


def test_var_has_the_rest_of_the_disk(node: Vm) -> None:
    kilobytes = int(node.run("df --output=size /var").split()[-1])
    assert kilobytes > 3 * 1024**2


def test_it_keeps_its_identity(node: Vm, say: Say) -> None:
    boot = node.run("cat /proc/sys/kernel/random/boot_id")
    node.run("systemctl reboot", check=False)
    took = node.until(
        lambda: node.run("cat /proc/sys/kernel/random/boot_id") != boot, "the reboot", 600.0
    )
    say(f"reboot to SSH: {took:.0f} s")
    assert node.run("hostname").strip() == "lon1"
    assert "192.0.2.10/24" in node.run("ip -4 addr")
    assert node.run("systemctl --failed --no-legend --plain", check=False).strip() == ""
