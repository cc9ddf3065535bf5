"""The whole way on the image: boot, provision, announce, steer, break, reboot.

Run by `./run test-appliance`; the tests are in the order of an appliance's life.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgenode.lab.netns import inside
from tests.appliance.site import EDGE, LARGE, PREFIX, WORKER, Site, running
from tests.system.tree import PROJECT

pytestmark = [pytest.mark.timeout(1800), pytest.mark.slow]

UNITS = ("control", "lifeline", "steering", "exec", "mesh", "render", "keys", "firewall")


def newest_image() -> Path:
    images = sorted(
        (PROJECT / "images/out").glob("edgenode-os_*.raw"), key=lambda p: p.stat().st_mtime
    )
    if not images:
        pytest.fail("no image in images/out: ./run image makes one")
    return images[-1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with running(tmp_path_factory.mktemp("appliance"), newest_image()) as found:
        yield found


Say = Callable[[str], None]


@pytest.fixture
def say(capfd: pytest.CaptureFixture[str]) -> Say:
    """Past what pytest captures: figures are part of the result."""

    def speak(text: str) -> None:
        with capfd.disabled():
            print(f"\n  {text}", flush=True)

    return speak


def test_it_boots_and_waits_for_provisioning(site: Site, say: Say) -> None:
    took = site.vm.wait_for_ssh()
    say(f"power on to SSH: {took:.0f} s ({site.vm.accelerator})")
    site.vm.until(
        lambda: len(site.vm.run("cat /var/lib/edgenode/control/wireguard.pub").strip()) == 44,
        "the WireGuard key",
        300.0,
    )
    state = site.vm.run("systemctl is-active edgenode.target edgenode-control bird", check=False)
    assert "active" not in state.split()
    assert site.announced == set()
    assert site.vm.run("systemctl --failed --no-legend --plain", check=False).strip() == ""
    locked = site.vm.run("grep -cv '^[^:]*:[!*]' /etc/shadow", check=False)
    assert locked.strip() == "0", "an account has a password"


def test_the_playbook_provisions_it(site: Site, say: Say) -> None:
    started = time.monotonic()
    run = site.fleet.play(timeout=1500.0)
    assert run.code == 0, run.output
    assert "a-secret-word" not in run.output
    say(f"playbook: {time.monotonic() - started:.0f} s, changes {run.changed()}")
    site.wait_announced(PREFIX)


def test_a_request_goes_through_the_kernels_wireguard(site: Site) -> None:
    site.vm.until(lambda: site.get() == "hello from fra\n", "a steered request", 120.0)
    assert "wireguard" in site.vm.run("ip -d link show wg0")
    assert site.vm.run("pgrep -c wireguard-go", check=False).strip() == "0"
    seen = site.fleet.machines[WORKER].run("journalctl -u app -q --no-pager")
    assert "198.51.100.193" in seen, "the worker sees the edge's mesh address"


def test_a_second_run_changes_nothing(site: Site) -> None:
    run = site.fleet.play(timeout=1500.0)
    assert run.code == 0, run.output
    assert run.changed() == {EDGE: 0, WORKER: 0}, run.output


def test_what_its_tunnels_carry_is_known_and_mended(site: Site, say: Say) -> None:
    """With the kernel's own WireGuard and routes, and in the units' sandboxes."""

    def shown(what: str) -> Any:
        return json.loads(site.vm.run(f"edgenode {what} --json"))

    def peer() -> Any:
        (found,) = shown("mesh")["peers"]
        return found

    def well() -> bool:
        found = peer()
        return found["mtu_proven"] == 1420 and (found["state"], found["loss"]) == ("good", 0)

    def routes_mtu() -> str:
        return " ".join(re.findall(r"mtu \d+", site.vm.run("ip route show dev wg0")))

    site.vm.until(well, "a path that is well and proven for full-size packets", 240.0)
    found = peer()
    assert 0 < found["rtt_ms"] < 1000
    assert found["handshake_age_s"] < 180, "WireGuard's own bound of a session (REJECT_AFTER_TIME)"
    assert (found["mtu_lowered"], found["bad"], found["problem"]) == (None, False, "")
    (region,) = shown("regions")["regions"]
    assert (region["name"], region["state"], region["workers_up"]) == ("fra", "up", 1)
    assert region["rtt_ms"] > 0
    say(f"through the tunnel: {found['rtt_ms']} ms; to a worker's port: {region['rtt_ms']} ms")

    assert site.get("large") == LARGE
    with site.black_hole(1400):
        started = time.monotonic()
        assert site.get("large", timeout=3.0) != LARGE, "it is a black hole"
        # 1400 bytes are IPv4 (20), UDP (8), WireGuard (32), and what it carries, padded to 16.
        site.vm.until(lambda: routes_mtu() == "mtu 1328", "lowered MTU", 120.0)
        say(f"black hole to lowered MTU of the routes: {time.monotonic() - started:.0f} s")
        assert site.get("large") == LARGE, "large answers pass again"
        found = peer()
        assert (found["mtu_proven"], found["mtu_lowered"], found["bad"]) == (1328, 1328, False)
        assert "larger than 1328 bytes vanish" in found["reason"]
        assert site.announced == {PREFIX}, "nothing is withdrawn for what is mended"
    site.vm.until(lambda: routes_mtu() == "", "the device's MTU again", 180.0)
    assert peer()["mtu_proven"] == 1420


def test_the_end_of_control_leaves_tunnel_and_steering(site: Site) -> None:
    pids = site.vm.run("systemctl show -P MainPID edgenode-steering edgenode-lifeline bird")
    site.vm.run("systemctl kill -s KILL --kill-whom=all edgenode-control")
    assert site.get() == "hello from fra\n"
    site.vm.until(lambda: "lon1" in site.vm.run("edgenode status"), "control is back", 180.0)
    assert site.announced == {PREFIX}
    after = site.vm.run("systemctl show -P MainPID edgenode-steering edgenode-lifeline bird")
    assert after == pids


def test_a_dead_proxy_is_withdrawn(site: Site, say: Say) -> None:
    started = time.monotonic()
    site.vm.run("systemctl stop --no-block edgenode-steering")
    site.wait_announced(timeout=60.0)
    say(f"proxy stopped to withdrawn at the router: {time.monotonic() - started:.1f} s")
    site.vm.run("systemctl start edgenode-steering")
    site.wait_announced(PREFIX)


def test_a_reboot_keeps_state_and_announces_again(site: Site, say: Say) -> None:
    before = site.vm.run("cat /var/lib/edgenode/control/wireguard.pub /var/etc/ssh/*.pub")
    site.vm.run("systemctl reboot", check=False)
    site.wait_announced(timeout=120.0)
    took = site.wait_announced(PREFIX, timeout=600.0)
    say(f"withdrawn for the reboot to announced again, by itself: {took:.0f} s")
    site.vm.until(lambda: site.get() == "hello from fra\n", "a steered request", 120.0)
    assert site.vm.run("hostname").strip() == EDGE
    again = site.vm.run("cat /var/lib/edgenode/control/wireguard.pub /var/etc/ssh/*.pub")
    assert again == before
    say(site.vm.run("systemd-analyze | head -1").strip())


def test_what_is_inside(site: Site, say: Say) -> None:
    """Read-only, closed, small: the machine's state, by testinfra over SSH."""
    with inside(site.fleet.router):
        look_inside(site.vm.inside(), say)


def look_inside(host: Any, say: Say) -> None:
    for name in ("control", "lifeline", "steering", "exec", "mesh", "firewall"):
        assert host.service(f"edgenode-{name}").is_running, name
    for name in ("bird", "ssh", "systemd-timesyncd", "systemd-networkd"):
        assert host.service(name).is_running, name
    assert not host.service("nftables").is_enabled
    key = host.file("/var/lib/edgenode/control/wireguard.key")
    assert (key.user, key.mode) == ("edgenode", 0o600)
    secret = host.file("/etc/edgenode/secrets/spare.md5")
    assert (secret.user, secret.mode) == ("edgenode", 0o600)
    assert host.file("/etc/edgenode").linked_to == "/var/etc/edgenode"
    assert host.mount_point("/var").filesystem == "ext4"
    assert int(host.check_output("findmnt -bno SIZE /var")) > 3 * 2**30, "it grew to the disk's end"
    assert host.mount_point("/").filesystem == "overlay"
    assert host.socket("tcp://203.0.113.1:443").is_listening
    assert host.sysctl("net.ipv4.tcp_migrate_req") == 1
    assert host.sysctl("net.ipv4.ping_group_range").split() == ["0", "2147483647"]
    assert "passwordauthentication no" in host.check_output("sshd -T").lower()
    assert "management4" in host.check_output("nft list table inet edgenode")
    assert host.package("bird2").is_installed
    assert not host.package("python3-pip").is_installed
    assert host.file("/var/lib/dpkg/status").is_file
    assert host.file("/var/lib/dpkg").linked_to == "/usr/lib/sysimage/dpkg"
    for name in UNITS:
        analyzed = f"systemd-analyze security --no-pager edgenode-{name}.service | tail -n 1"
        exposure = float(host.check_output(analyzed).split(":")[1].split()[0])
        say(f"edgenode-{name}: exposure {exposure}")
        assert exposure < 2.5
