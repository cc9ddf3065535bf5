"""edgenode changes on a running appliance: no route moves, no connection is lost, and back again.

Run by `./run test-appliance --software`.
"""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.appliance.extensions import break_off, foreign_keys, remake
from tests.appliance.site import PREFIX, SERVICE, Site, running
from tests.appliance.test_appliance import Say, newest_image, say

__all__ = ["say"]

pytestmark = [pytest.mark.timeout(1800), pytest.mark.slow]

PARTS = ("exec", "control", "steering", "tools")
PATIENCE = "--within 240s --hold 10s"
"""An emulated machine takes half a minute to start control."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with running(tmp_path_factory.mktemp("software"), newest_image()) as found:
        found.vm.wait_for_ssh()
        run = found.fleet.play(timeout=1500.0)
        assert run.code == 0, run.output
        found.wait_announced(PREFIX)
        found.vm.until(lambda: found.get() == "hello from fra\n", "a steered request", 120.0)
        yield found


@pytest.fixture(scope="module")
def releases(site: Site, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """In the machine, by name: a good one, broken ones, and one that somebody else signed."""
    place = tmp_path_factory.mktemp("releases")
    image = newest_image()
    built = image.with_name(image.name.replace("edgenode-os_", "edgenode_"))
    made = {
        "good": remake(built, "99.1", place),
        "control": remake(built, "99.2", place, lambda package: break_off(package, "control")),
        "steering": remake(built, "99.3", place, lambda package: break_off(package, "steering")),
        "foreign": remake(built, "99.4", place, keys=foreign_keys(place / "keys")),
    }
    site.vm.run("mkdir -p /var/tmp/releases")
    for file in made.values():
        copy(site, file)
    return {name: f"/var/tmp/releases/{file.name}" for name, file in made.items()}


def copy(site: Site, file: Path) -> None:
    command = site.vm.ssh_command(f"cat > /var/tmp/releases/{file.name}")
    with file.open("rb") as opened:
        subprocess.run(command, stdin=opened, check=True, timeout=300)


def install(site: Site, what: str, options: str = "") -> tuple[int, str]:
    """Its exit status, and what it printed."""
    command = site.vm.ssh_command(f"edgenode software install {what} {PATIENCE} {options}")
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=900, stdin=subprocess.DEVNULL
    )
    return done.returncode, done.stdout + done.stderr


def parts(site: Site) -> dict[str, dict[str, Any]]:
    told = json.loads(site.vm.run("edgenode software list --json"))
    return {each["part"]: each for each in told["parts"]}


@contextmanager
def undisturbed(site: Site) -> Iterator[None]:
    """A user's connection lives on, and the router has the prefix all the time."""
    seen: list[set[str]] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.3):
            seen.append(site.announced)

    user = subprocess.Popen(
        (
            *("ip", "netns", "exec", site.fleet.router, "curl", "-s", "--noproxy", "*"),
            *("--limit-rate", "50", "-o", "/dev/null", f"{SERVICE}large"),
        )
    )
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        time.sleep(3.0)
        assert user.poll() is None, "the download has begun"
        yield
        assert user.poll() is None, "the user's connection lives"
    finally:
        over.set()
        watcher.join()
        user.kill()
        user.wait()
    assert seen
    assert all(each == {PREFIX} for each in seen), "nothing was withdrawn"


def test_another_release_runs_without_a_withdraw_or_a_lost_connection(
    site: Site, releases: dict[str, str], say: Say
) -> None:
    before = site.vm.run("systemctl show -P MainPID edgenode-lifeline bird")
    with undisturbed(site):
        began = time.monotonic()
        status, said = install(site, releases["good"])
        assert status == 0, said
        say(f"installed: {time.monotonic() - began:.0f} s: {said.strip().splitlines()[-1]}")
        assert site.get() == "hello from fra\n"
    found = parts(site)
    assert {found[part]["runs"] for part in PARTS} == {"99.1"}
    assert {found[part]["starts_with"] for part in PARTS} == {"99.1"}
    assert found["lifeline"]["runs"] != "99.1"
    assert site.vm.run("systemctl show -P MainPID edgenode-lifeline bird") == before


def test_it_is_done_once(site: Site, releases: dict[str, str]) -> None:
    pid = site.vm.run("systemctl show -P MainPID edgenode-control")
    status, said = install(site, releases["good"])
    assert status == 0, said
    assert site.vm.run("systemctl show -P MainPID edgenode-control") == pid


@pytest.mark.parametrize("part", ["control", "steering"])
def test_a_broken_one_goes_back_by_itself(
    site: Site, releases: dict[str, str], say: Say, part: str
) -> None:
    version = {"control": "99.2", "steering": "99.3"}[part]
    with undisturbed(site):
        began = time.monotonic()
        status, said = install(site, releases[part])
        assert status == 1
        assert f"{part} goes on with what it ran: {version}" in said
        say(f"{part} went back: {time.monotonic() - began:.0f} s: {said.strip().splitlines()[-1]}")
        site.vm.until(lambda: site.get() == "hello from fra\n", "a steered request", 120.0)
    found = parts(site)
    assert (found[part]["runs"], found[part]["starts_with"]) == ("99.1", "99.1")
    status, said = install(site, releases[part])
    assert (status, "failed here" in said) == (1, True)


def test_what_others_signed_is_refused(site: Site, releases: dict[str, str]) -> None:
    status, said = install(site, releases["foreign"])
    assert status == 1
    assert "is not signed by a key" in said
    assert "99.4" not in site.vm.run("edgenode software list")


def test_a_killed_install_is_ended(site: Site, releases: dict[str, str]) -> None:
    """By systemd; here at once, by hand."""
    site.vm.run(
        f"systemd-run -q --unit=half edgenode software install {releases['control']} --again "
        f"{PATIENCE}"
    )
    site.vm.until(lambda: parts(site)["control"]["on_trial"] == "99.2", "the trial", 120.0)
    site.vm.run("systemctl kill -s KILL half")
    assert "edgenode-software-undo.timer" in site.vm.run("systemctl list-timers --no-pager")
    site.vm.run("edgenode software undo", timeout=300.0)
    site.vm.until(lambda: parts(site)["control"]["runs"] == "99.1", "control is back", 240.0)
    assert parts(site)["control"]["on_trial"] is None


def test_it_can_be_taken_back(site: Site, say: Say) -> None:
    site.vm.until(lambda: site.announced == {PREFIX}, "it announces", 240.0)
    with undisturbed(site):
        site.vm.run(f"edgenode software rollback {PATIENCE}", timeout=900.0)
    found = parts(site)
    assert "99.1" not in {found[part]["runs"] for part in PARTS}
