"""The playbook on plain Debian machines, over SSH: what an operator sees, and what users would."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.system.fleet import EDGES, HOSTS, VENV, Fleet, address, running, wheels

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(not VENV.exists(), reason="no .venv-ansible: ./run playbook --version"),
]

ALL = {"203.0.113.0/24", "192.0.2.0/24"}
# Of the example inventory: nobody logs in with it.
SOMEBODYS_KEY = (
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEbmhSuzzlz8AOlzcQw8XyjYlY6yz0n2T7Y4Gm2Wqfzd operator"
)
TOML = "/etc/edgenode/edgenode.toml"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    wheels()
    with running(tmp_path_factory.mktemp("fleet")) as found:
        found.machines["fra-1"].run("systemd-run --unit=app python3 -m http.server 8080")
        yield found


@pytest.fixture(scope="module")
def provisioned(fleet: Fleet) -> Fleet:
    run = fleet.play()
    assert run.code == 0, run.output
    assert "a-secret-word" not in run.output
    fleet.until(lambda: all(fleet.routes().get(edge) == ALL for edge in EDGES), "all is announced")
    return fleet


def wrong(fleet: Fleet, *said: str) -> None:
    """The playbook refuses, says so, and has touched nothing."""
    run = fleet.play()
    assert run.code != 0
    assert "Nothing was touched" in run.output
    for each in said:
        assert each in run.output, run.output
    assert set(run.changed().values()) == {0}


def test_an_overlap_and_an_unknown_variable_are_refused(fleet: Fleet) -> None:
    def same_address(variables: dict[str, Any]) -> None:
        variables["edgenode_mesh"]["addresses"] = ["198.51.100.193"]

    def slip(variables: dict[str, Any]) -> None:
        variables["edgenode_group"] = []

    with (
        fleet.altered("host_vars/fra-1.yml", same_address),
        fleet.altered("group_vars/edges/main.yml", slip),
    ):
        wrong(
            fleet,
            "fra-1: edgenode_mesh.addresses: the mesh address 198.51.100.193 is lon1's already",
            "host_vars/fra-1.yml:",
            "lon1: edgenode_group: there is no such variable: edgenode_groups is meant?",
        )


def test_an_unknown_key_is_refused(fleet: Fleet) -> None:
    def unknown(variables: dict[str, Any]) -> None:
        variables["edgenode_groups"][0]["prefixs"] = []

    with fleet.altered("group_vars/edges/main.yml", unknown):
        wrong(fleet, "lon1: edgenode_groups[0].prefixs: unknown key", "group_vars/edges/main.yml:2")


def test_a_misspelt_group_is_refused(fleet: Fleet) -> None:
    def misspelt(inventory: dict[str, Any]) -> None:
        inventory["edge"] = inventory.pop("edges")

    with fleet.altered("hosts.yml", misspelt):
        wrong(
            fleet,
            "groups: edges: has no host: every worker would lose its peers",
            "lon1: groups: is neither in edges nor in workers",
        )


def test_lists_without_the_operator_are_refused(fleet: Fleet) -> None:
    def without(variables: dict[str, Any]) -> None:
        variables["edgenode_firewall"]["management"] = ["198.51.100.128/25"]
        variables["edgenode_authorized_keys"] = [SOMEBODYS_KEY]

    ams1 = fleet.machines["ams1"]
    # On the image alone the list of keys replaces the one that was there.
    ams1.run("cp /usr/lib/os-release /run/right; echo IMAGE_ID=edgenode >> /usr/lib/os-release")
    try:
        with fleet.altered("group_vars/edges/main.yml", without):
            run = fleet.play()
    finally:
        ams1.run("cat /run/right > /usr/lib/os-release")
    assert run.code != 0
    text = " ".join(run.output.split())
    no_network = (
        "nothing was changed: edgenode_firewall.management has no network with [^;]*: add it"
    )
    no_key = "edgenode_authorized_keys has not the key of this connection"
    assert re.search(f"lon1: {no_network}(?!; )", text), run.output
    assert re.search(f"ams1: {no_network}; {no_key}", text), run.output
    assert set(run.changed().values()) == {0}


@pytest.mark.slow
def test_check_mode_on_a_bare_host_says_what_would_be_done_and_does_nothing(fleet: Fleet) -> None:
    run = fleet.play("--check")
    assert run.code == 0, run.output
    assert all(run.changed()[host] > 0 for host in HOSTS)
    for host in HOSTS:
        found = fleet.machines[host].run("ls -d /etc/edgenode /opt/edgenode 2>/dev/null", False)
        assert not found


def test_what_a_run_leaves_on_a_node(provisioned: Fleet) -> None:
    lon1 = provisioned.machines["lon1"]
    mode = lon1.run("stat -c '%a %U' /etc/edgenode/secrets/spare.md5").strip()
    assert mode == "600 edgenode"
    assert lon1.run("cat /etc/edgenode/identity /etc/hostname").split() == ["lon1", "lon1"]
    assert lon1.run("systemctl is-enabled bird nftables", check=False).split() == ["disabled"] * 2
    firewall = json.loads(lon1.run("edgenode firewall status --json"))
    assert firewall == {"confirmed": True, "current": True, "loaded": True, "on_trial": False}
    siblings = json.loads(lon1.run("edgenode status --json"))["siblings"]["edges"]
    assert [(each["name"], each["fresh"]) for each in siblings] == [("ams1", True)]


def test_a_user_is_steered_to_the_worker(provisioned: Fleet) -> None:
    router = ("ip", "netns", "exec", provisioned.router)
    route = ("ip", "route", "replace", "203.0.113.1", "via", address("ams1"))
    subprocess.run([*router, *route], check=True)
    answer = subprocess.run(
        [*router, "curl", "-sS", "-m", "10", "http://203.0.113.1:443/"],
        capture_output=True,
        text=True,
    )
    assert "Directory listing" in answer.stdout, answer.stderr


def test_a_second_run_mends_what_was_altered_by_hand_and_changes_nothing_else(
    provisioned: Fleet,
) -> None:
    lon1, worker = (provisioned.machines[host] for host in ("lon1", "fra-1"))
    right = lon1.run(f"cat {TOML}")
    rules = lon1.run("cat /var/lib/edgenode/firewall/confirmed.nft")
    secrets = "/etc/edgenode/secrets"
    for alter in (
        f'sed -i \'s/drain_time = "1s"/drain_time = "7s"/\' {TOML}',
        f"echo another-secret > {secrets}/spare.md5",
        # As if the inventory had had it, and has it no more.
        f"touch {secrets}/gone; echo {secrets}/gone >> /var/lib/edgenode/placed",
        "rm /var/lib/edgenode/firewall/confirmed.nft",
    ):
        lon1.run(alter)
    only = {**dict.fromkeys(HOSTS, 0), "lon1": 4}

    check = provisioned.play("--check", "--diff")
    assert check.code == 0, check.output
    assert check.changed() == only, check.output
    assert re.search(r'^-drain_time = "7s"\n\+drain_time = "1s"$', check.output, re.MULTILINE)
    assert "a-secret-word" not in check.output
    assert "another-secret" not in check.output
    assert "7s" in lon1.run(f"cat {TOML}")
    assert lon1.run(f"ls {secrets}").split() == ["gone", "spare.md5"]
    assert provisioned.routes()["lon1"] == ALL

    # What the worker's files cannot show.
    worker.run("ip route delete 198.51.100.193 dev wg0; ip route add 198.51.100.99 dev wg0")
    run = provisioned.play("--diff")
    assert run.code == 0, run.output
    assert run.changed() == only, run.output
    assert "a-secret-word" not in run.output
    assert "another-secret" not in run.output
    assert lon1.run(f"cat {TOML}") == right
    assert lon1.run("cat /var/lib/edgenode/firewall/confirmed.nft") == rules
    assert lon1.run(f"ls {secrets}; cat {secrets}/spare.md5") == "spare.md5\na-secret-word"
    assert "unfinished" not in lon1.run("ls /var/lib/edgenode")
    routes = worker.run("ip route show dev wg0")
    assert "198.51.100.193" in routes
    assert "198.51.100.99" not in routes
    assert provisioned.routes()["lon1"] == ALL


def test_what_control_takes_up_is_applied_without_a_drain(provisioned: Fleet) -> None:
    def slower(variables: dict[str, Any]) -> None:
        variables["edgenode_checks"][0]["interval"] = "2s"
        variables.setdefault("edgenode_steering", {})["max_connections"] = 4321

    machines = [provisioned.machines[edge] for edge in EDGES]
    before = [machine.main_pid("edgenode-control.service") for machine in machines]
    served = [machine.main_pid("edgenode-steering.service") for machine in machines]
    with provisioned.altered("group_vars/edges/main.yml", slower):
        run = provisioned.play()
    assert run.code == 0, run.output
    assert "Drain what is announced" not in run.output
    for machine, pid in zip(machines, before, strict=True):
        assert machine.main_pid("edgenode-control.service") == pid
        confirmed = machine.run("cat /var/lib/edgenode/control/confirmed.toml")
        assert 'interval = "2s"' in confirmed
        assert "unfinished" not in machine.run("ls /var/lib/edgenode")
    # Steering takes it up without its users: another process has their connections.
    for machine, pid in zip(machines, served, strict=True):
        assert machine.main_pid("edgenode-steering.service") not in (0, pid)
        said = machine.run("journalctl --no-pager -u edgenode-steering")
        assert "has taken over, with all connections" in said
        assert machine.property("edgenode-steering.service", "NRestarts") == "0"


@pytest.mark.slow
def test_a_steering_that_cannot_take_over_stops_the_run_and_no_user(provisioned: Fleet) -> None:
    def unwritable(variables: dict[str, Any]) -> None:
        variables.setdefault("edgenode_steering", {})["access_log"] = "/etc/edgenode/access.log"

    lon1, ams1 = (provisioned.machines[edge] for edge in EDGES)
    before = ams1.run(f"cat {TOML}")
    served = lon1.main_pid("edgenode-steering.service")
    with provisioned.altered("group_vars/edges/main.yml", unwritable):
        run = provisioned.play()
    assert run.code != 0, run.output
    text = " ".join(run.output.split())
    assert "On lon1 the new steering could not take over: the one of before goes on" in text
    assert "cannot start steering: " in text
    assert "/etc/edgenode/access.log" in text
    assert "edgenode: not touched: ams1" in text
    assert ams1.run(f"cat {TOML}") == before
    assert lon1.main_pid("edgenode-steering.service") == served
    assert lon1.property("edgenode-steering.service", "ActiveState") == "active"
    assert all(provisioned.routes()[edge] == ALL for edge in EDGES)

    # What it was to reload is not forgotten.
    again = provisioned.play()
    assert again.code == 0, again.output
    assert lon1.main_pid("edgenode-steering.service") not in (0, served)
    assert "unfinished" not in lon1.run("ls /var/lib/edgenode")
    assert all(provisioned.routes()[edge] == ALL for edge in EDGES)


def test_another_nodes_identity_is_refused(provisioned: Fleet) -> None:
    def swapped(variables: dict[str, Any]) -> None:
        hosts = variables["edges"]["hosts"]
        hosts["lon1"], hosts["ams1"] = hosts["ams1"], hosts["lon1"]

    with provisioned.altered("hosts.yml", swapped):
        run = provisioned.play()
    assert run.code != 0
    text = " ".join(run.output.split())
    assert 'bears the identity "ams1", not "lon1": nothing was changed' in text
    assert set(run.changed().values()) == {0}
    assert all(provisioned.routes()[edge] == ALL for edge in EDGES)


@pytest.mark.slow
def test_a_node_that_stops_answering_stops_the_run(provisioned: Fleet) -> None:
    lon1, ams1 = (provisioned.machines[edge] for edge in EDGES)
    before = ams1.run(f"cat {TOML}")

    def patient(variables: dict[str, Any]) -> None:
        variables["edgenode_lifeline"] = {"grace": "4s"}

    with provisioned.altered("group_vars/edges/main.yml", patient):
        run = subprocess.Popen(
            provisioned.command(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=provisioned.environment(),
        )
        provisioned.until(lambda: not provisioned.routes().get("lon1"), "lon1 is drained", 240)
        lon1.stop()
        output, _ = run.communicate(timeout=300)
        assert run.returncode != 0
        assert "edgenode: lon1 stopped answering at: edge :" in output, output
        assert "edgenode: not touched: ams1" in output
        assert ams1.run(f"cat {TOML}") == before
        assert provisioned.routes()["ams1"] == ALL

        lon1.start()
        lon1.until(lambda: "Established" in lon1.run("edgenode status"), "lon1 is back", 60)
        assert not provisioned.routes().get("lon1"), "drained, it stays so until it is verified"

        again = provisioned.play()
        assert again.code == 0, again.output
        for edge in EDGES:
            assert 'grace = "4s"' in provisioned.machines[edge].run(f"cat {TOML}")
            assert provisioned.routes()[edge] == ALL


@pytest.mark.slow
def test_a_session_that_does_not_come_up_stops_this_run_and_the_next(provisioned: Fleet) -> None:
    def wrong_asn(variables: dict[str, Any]) -> None:
        variables["edgenode_bgp"]["neighbors"][0]["asn"] = 64999

    with provisioned.altered("host_vars/lon1.yml", wrong_asn):
        # The second finds the session down, and must not pass over that.
        for _ in range(2):
            run = provisioned.play("-e", "edgenode_verify_timeout=10")
            assert run.code != 0, run.output
            text = " ".join(run.output.split())
            assert "lon1 stays drained, and the run stops here" in text
            assert "the session with router is" in text
            assert "edgenode: not touched: ams1" in run.output
            assert not provisioned.routes().get("lon1")
            assert provisioned.routes()["ams1"] == ALL
    # Nobody can tell the next run what was drained: it finds out.
    provisioned.machines["lon1"].run("systemctl stop edgenode-control")
    run = provisioned.play()
    assert run.code == 0, run.output
    assert all(provisioned.routes()[edge] == ALL for edge in EDGES)
