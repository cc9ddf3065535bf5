"""Updates of a whole machine, under Secure Boot: in order, broken, forged, taken back, cut.

Run by `./run test-appliance --update`; the tests are in the order of a node's life. EDGENODE_CUTS
is how often the power is cut in an update (5), EDGENODE_SEED repeats one run's moments.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.appliance.repack import release, repack
from tests.appliance.site import EDGE, PREFIX
from tests.appliance.test_appliance import newest_image
from tests.appliance.vm import DATA_MAC, TAP, Vm, VmError, accelerator
from tests.system import fleet as plain
from tests.system.fleet import Fleet
from tests.system.machine import ip

pytestmark = [pytest.mark.timeout(3600), pytest.mark.slow]

CUTS = int(os.environ.get("EDGENODE_CUTS", "5"))
SEED = os.environ.get("EDGENODE_SEED") or str(random.randrange(10**6))
PORT = 8000
BOOT = 900.0
"""Seconds for a boot, emulated on a busy machine."""

NODE = f"""\
[node]
name = "{EDGE}"

[bgp]
asn = 64700
router_id = "198.51.100.161"

[[bgp.neighbors]]
name = "router"
address = "{plain.router_address(EDGE)}"
asn = 64601

[[checks]]
name = "ssh"
type = "tcp"
target = "127.0.0.1:22"

[[groups]]
name = "web"
prefixes = ["{PREFIX}"]
addresses = ["203.0.113.1"]
checks = ["ssh"]
ports = ["tcp/80"]
damping = {{ enabled = false }}

[firewall]
# SSH comes through QEMU's own network.
management = ["10.0.2.0/24"]
"""
UPLINK = f"""\
[Match]
MACAddress={DATA_MAC}

[Network]
Address={plain.address(EDGE)}/29
"""

Say = Callable[[str], None]


@pytest.fixture
def say(capfd: pytest.CaptureFixture[str]) -> Say:
    """Past what pytest captures: figures are part of the result."""

    def speak(text: str) -> None:
        with capfd.disabled():
            print(f"\n  {text}", flush=True)

    return speak


class Node:
    """The machine, the router that hears it, and what it may update to."""

    def __init__(self, vm: Vm, fleet: Fleet, updates: Path, version: str) -> None:
        self.vm = vm
        self.fleet = fleet
        self.updates = updates
        self.first = version
        number = version.split("~")[0].split("-")[0]
        self.good, self.broken, self.later = (f"{number}.{part}" for part in (1, 2, 3))
        self.took = 120.0

    def offer(self, *versions: str) -> None:
        """What the source has from now on."""
        for file in self.updates.glob("served/*"):
            file.unlink()
        for file in (self.updates / versions[0]).iterdir():
            if not file.name.startswith("."):
                shutil.copy(file, self.updates / "served")

    def slots(self) -> dict[str, Any]:
        """By version, of those that are installed."""
        told = json.loads(self.vm.run("edgenode system status --json"))
        return {slot["version"]: slot for slot in told["slots"] if slot["version"]}

    @property
    def running(self) -> str:
        return str(json.loads(self.vm.run("edgenode system status --json"))["running"])

    @property
    def announced(self) -> bool:
        return self.fleet.routes().get(EDGE) == {PREFIX}

    def update(self, *options: str, check: bool = True) -> str:
        """What the node says, in either way."""
        command = f"edgenode system update --force {' '.join(options)} 2>&1"
        return self.vm.run(command, timeout=1200.0, check=check)

    def until_good(self, version: str) -> float:
        """Seconds until a version runs, is found good, and announces."""
        return self.vm.until(
            lambda: (
                self.running == version
                and self.slots()[version]["state"] == "good"
                and self.announced
            ),
            f"{version} runs, is good and announces",
            4 * BOOT,
            3.0,
        )

    def until_gone(self) -> None:
        self.vm.until(lambda: not self.announced, "the drain", 300.0)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    directory = tmp_path_factory.mktemp("update")
    image = newest_image()
    fleet = Fleet(directory, f"t-sys-{os.getpid()}-update")
    ip("netns", "add", fleet.router)
    running: list[subprocess.Popen[bytes]] = []
    vm: Vm | None = None
    try:
        for command in (
            "link set lo up",
            f"tuntap add {TAP} mode tap",
            f"addr add {plain.router_address(EDGE)}/29 dev {TAP}",
            f"link set {TAP} up",
        ):
            ip("-n", fleet.router, *command.split())
        running.append(plain.router_bird(fleet))
        updates = directory / "updates"
        (updates / "served").mkdir(parents=True)
        running.append(
            subprocess.Popen(
                [
                    *("ip", "netns", "exec", fleet.router, "python3", "-m", "http.server"),
                    *("--bind", "127.0.0.1", "--directory", str(updates / "served"), str(PORT)),
                ],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        )
        vm = Vm(image, directory, fleet.router, accelerator(), secure_boot=True)
        vm.power_on()
        version = image.stem.removeprefix("edgenode-os_")
        made = Node(vm, fleet, updates, version)
        # While it boots.
        for each, change in (
            (made.good, _as_it_is),
            (made.broken, _without_a_library),
            (made.later, _as_it_is),
        ):
            packed = repack(image, each, directory, change)
            release(packed, each, updates / each)
            packed.unlink()
        yield made
    finally:
        if vm is not None:
            vm.close()
        for process in running:
            process.kill()
            process.wait()
        subprocess.run(["ip", "netns", "delete", fleet.router], check=False)


def _as_it_is(root: Path) -> None:
    """The same system, under another version."""


def _without_a_library(root: Path) -> None:
    """It reaches multi-user.target, SSH and all; only control does not start."""
    shutil.rmtree(root / "usr/lib/python3/dist-packages/prometheus_client")
    # Sooner than a node would give it up.
    drop_in = root / "usr/lib/systemd/system/edgenode-gate.service.d/test.conf"
    drop_in.parent.mkdir()
    drop_in.write_text(
        "[Service]\nExecStart=\nExecStart=/usr/bin/edgenode system gate --within 60s\n"
    )


def test_secure_boot_is_in_force(node: Node, say: Say) -> None:
    """The boot loader enrolled the operator's key by itself: the firmware was in setup mode."""
    say(f"power on, enrolment and boot: {node.vm.wait_for_ssh(BOOT):.0f} s")
    assert _variable(node.vm, "SecureBoot") == 1
    assert _variable(node.vm, "SetupMode") == 0
    assert "[integrity]" in node.vm.run("cat /sys/kernel/security/lockdown")


def _variable(vm: Vm, name: str) -> int:
    place = f"/sys/firmware/efi/efivars/{name}-8be4df61-93ca-11d2-aa0d-00e098032b8c"
    return int(vm.run(f"od -An -tu1 -j4 {place}"))


def test_it_announces(node: Node) -> None:
    vm = node.vm
    for file, text in (
        ("/etc/systemd/network/10-uplink.network", UPLINK),
        ("/etc/edgenode/edgenode.toml", NODE),
        ("/etc/edgenode/updates.toml", f'source = "http://10.0.2.2:{PORT}"\n'),
    ):
        vm.run(f"cat > {file} <<'END'\n{text}END")
    # Without confirmed rules no BGP passes.
    vm.run("edgenode firewall apply --no-undo", timeout=300.0)
    vm.run("networkctl reload && systemctl start edgenode.target", timeout=300.0)
    vm.until(lambda: node.announced, "it is announced", 300.0)
    assert node.slots()[node.first]["state"] == "good"


def test_an_update_goes_into_the_other_slot(node: Node, say: Say) -> None:
    before = node.vm.run("cat /etc/machine-id /var/etc/ssh/*.pub")
    node.offer(node.good)
    started = time.monotonic()
    said = node.update("--reboot")
    node.took = time.monotonic() - started
    assert f"{node.good} is installed: the node reboots" in said
    node.until_gone()
    took = node.until_good(node.good)
    say(f"installed and drained: {node.took:.0f} s; to good and announced: {took:.0f} s")
    slots = node.slots()
    assert slots[node.first]["state"] == "good", "there is a way back"
    assert slots[node.good]["running"]
    assert node.vm.run("cat /etc/machine-id /var/etc/ssh/*.pub") == before
    assert "is the newest" in node.update()


def test_an_operator_goes_back(node: Node, say: Say) -> None:
    node.vm.run("edgenode system rollback --force", timeout=600.0)
    node.until_gone()
    say(f"back to {node.first}: {node.until_good(node.first):.0f} s")
    assert node.slots()[node.good]["state"] == "failed"
    assert f"{node.good} failed on this node" in node.update(check=False)


def test_a_broken_version_is_left_by_itself(node: Node, say: Say) -> None:
    node.offer(node.broken)
    node.update("--reboot")
    node.until_gone()
    started = time.monotonic()
    node.vm.until(
        lambda: node.slots()[node.broken]["tries_done"] >= 1 and node.running == node.broken,
        "the broken version runs",
        BOOT,
    )
    say(f"{node.broken} reached SSH after {time.monotonic() - started:.0f} s")
    node.until_good(node.first)
    say(f"rolled back by itself after {time.monotonic() - started:.0f} s")
    assert node.slots()[node.broken]["state"] == "failed"
    journal = node.vm.run("journalctl -q --no-pager -u edgenode-gate", check=False)
    assert "edgenode-control.service" in journal
    assert f"{node.broken} failed on this node" in node.update(check=False)


def test_a_foreign_signature_is_refused(node: Node) -> None:
    node.offer(node.later)
    listing = node.updates / "served/SHA256SUMS"
    listing.write_text(listing.read_text() + f"{'0' * 64}  edgenode_99.efi\n")
    assert "is not of the release key" in node.update(check=False)
    assert node.later not in node.slots()


def test_a_truncated_download_is_refused(node: Node) -> None:
    node.offer(node.later)
    (root,) = (node.updates / "served").glob("*.root-x86-64.*")
    os.truncate(root, root.stat().st_size // 2)
    said = node.update("--reboot", check=False)
    assert "what runs is untouched" in said
    assert node.slots().get(node.later, {}).get("state") != "on trial"
    assert node.running == node.first
    assert node.announced


@pytest.mark.parametrize("number", range(1, CUTS + 1))
def test_the_power_is_cut_in_an_update(node: Node, number: int, say: Say) -> None:
    """Whatever the moment, the old version or the new one comes up whole, and announces."""
    vm = node.vm
    kept = node.fleet.directory / "kept"
    if not kept.exists():
        node.offer(node.later)
        vm.run("sync; systemctl poweroff", check=False)
        _wait_for_the_end(vm)
        vm.keep(kept)
    if not _alive(vm) or node.running != node.first:
        vm.close()
        vm.go_back(kept)
        vm.power_on()
        vm.wait_for_ssh(BOOT)
        vm.until(lambda: node.announced, "it is announced", BOOT)
    moment = random.Random(f"{SEED}-{number}").uniform(1.0, node.took + 30.0)
    with _updating(node):
        time.sleep(moment)
        vm.close()
    vm.power_on()
    vm.wait_for_ssh(BOOT)
    came_up = node.running
    assert came_up in (node.first, node.later)
    node.until_good(came_up)
    say(f"cut {number} of {CUTS} (seed {SEED}) at {moment:.1f} s of {node.took:.0f}: {came_up}")
    assert vm.run("systemctl --failed --no-legend --plain").strip() == ""
    assert re.match(r"0\b", vm.run("edgenode status >/dev/null; echo $?"))


def test_after_the_cuts_it_can_be_updated(node: Node, say: Say) -> None:
    if not CUTS:
        node.offer(node.later)
    if node.running != node.later:
        assert "reboots" in node.update("--reboot")
        node.until_gone()
    say(f"{node.later} is good after {node.until_good(node.later):.0f} s")


@contextmanager
def _updating(node: Node) -> Iterator[None]:
    process = subprocess.Popen(
        node.vm.ssh_command("edgenode system update --reboot --force"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _alive(vm: Vm) -> bool:
    try:
        vm.run("true", timeout=60.0)
    except (VmError, subprocess.SubprocessError):
        return False
    return True


def _wait_for_the_end(vm: Vm) -> None:
    deadline = time.monotonic() + 300.0
    while time.monotonic() < deadline and _alive(vm):
        time.sleep(2.0)
    time.sleep(10.0)
    vm.close()
