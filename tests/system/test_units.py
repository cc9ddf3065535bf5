"""The units: order, users, rights, and what the end of one leaves of the others."""

from __future__ import annotations

import json
import time

import pytest

from tests.system.conftest import CONFIG, RULES, WEB, Node

OURS = ("control", "lifeline", "steering", "exec", "mesh", "render", "keys", "firewall")
DAEMONS = ("control", "lifeline", "steering", "exec")


def service(name: str) -> str:
    return "bird.service" if name == "bird" else f"edgenode-{name}.service"


def wait_state(node: Node, name: str, state: str) -> None:
    unit = service(name)
    node.machine.until(lambda: node.machine.property(unit, "ActiveState") == state, unit)


def test_a_node_that_is_not_provisioned_does_nothing(node: Node) -> None:
    node.machine.run("systemctl start edgenode.target")
    for name in (*DAEMONS, "bird"):
        assert node.machine.property(service(name), "ActiveState") == "inactive"
    assert node.outside.routes() == set()
    public = node.machine.run("cat /var/lib/edgenode/control/wireguard.pub").strip()
    assert len(public) == 44
    mode = node.machine.run("stat -c '%a %U' /var/lib/edgenode/control/wireguard.key")
    assert mode.strip() == "600 edgenode"


def test_the_mesh_comes_up_with_an_endpoints_name(node: Node) -> None:
    """Its unit alone, as at a boot before control is there: the sandbox lets it ask for names."""
    with node.outside.resolving("fra.example.net", "198.51.100.1"):
        node.machine.write("/etc/resolv.conf", "nameserver 198.51.100.1\n")
        named = CONFIG.replace("198.51.100.1:51820", "fra.example.net:51820")
        node.machine.write("/etc/edgenode/edgenode.toml", named + RULES)
        node.machine.run("systemctl start edgenode-mesh")
        assert "198.51.100.1:51820" in node.machine.run("wg show wg0 endpoints")


def test_provisioned_it_announces(node: Node) -> None:
    node.provision()
    for name in (*DAEMONS, "bird", "mesh"):
        wait_state(node, name, "active")
    time.sleep(1.0)
    assert node.outside.routes() == set(), "nothing is announced for a proxy that does not run"
    node.machine.run("systemctl start nginx")
    node.outside.wait_routes(WEB)


def test_each_process_is_a_user_of_its_own(node: Node) -> None:
    rights = {
        "control": ("edgenode", {"cap_net_admin"}),
        "lifeline": ("edgenode-lifeline", {"cap_net_admin"}),
        "steering": ("edgenode-steering", {"cap_net_bind_service"}),
        "exec": ("edgenode-exec", set()),
        "bird": ("bird", {"cap_net_admin", "cap_net_bind_service"}),
    }
    numbers = {"cap_net_bind_service": 10, "cap_net_admin": 12}
    for name, (user, capabilities) in rights.items():
        pid = node.machine.main_pid(service(name))
        assert node.machine.run(f"ps -o user:32= -p {pid}").strip() == user
        status = node.machine.run(f"cat /proc/{pid}/status")
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        want = sum(1 << numbers[each] for each in capabilities)
        for kind in ("CapEff", "CapBnd"):
            assert int(fields[kind], 16) == want, (name, kind)
        assert fields["NoNewPrivs"].strip() == "1"


def test_steering_reaches_neither_control_nor_the_lifeline(node: Node) -> None:
    for path in ("control/control.sock", "lifeline/lifeline.sock", "exec/exec.sock"):
        tried = node.machine.run(
            "setpriv --reuid=edgenode-steering --regid=edgenode-steering --clear-groups "
            f"python3 -c 'import os; os.stat(\"/run/edgenode/{path}\")'",
            check=False,
        )
        assert "PermissionError" in tried


def test_exec_checks_run_as_their_own_user(node: Node) -> None:
    status = json.loads(node.machine.run("edgenode status --json"))
    (who,) = (check for check in status["checks"] if check["name"] == "who")
    assert who["reason"] == "sh: edgenode-exec"


def test_paths_are_measured_without_a_capability_for_it(node: Node) -> None:
    """Nobody answers here; that the sockets are not refused is what counts."""
    (path,) = json.loads(node.machine.run("edgenode status --json"))["paths"]
    assert "ping_group_range" not in path["reason"]
    assert path["asked"] == ["198.51.100.201"]


def test_no_secret_is_in_the_open(node: Node) -> None:
    for command in ("ps -ef", "journalctl --no-pager", "cat /var/lib/edgenode/bird/bird.conf"):
        assert "a shared secret" not in node.machine.run(command)
    tried = node.machine.run(
        "setpriv --reuid=edgenode-steering --regid=edgenode-steering --clear-groups "
        "cat /var/lib/edgenode/bird/bird-secrets.conf /etc/edgenode/secrets/transit.md5",
        check=False,
    )
    assert tried.count("Permission denied") == 2


def test_a_dead_proxy_is_withdrawn(node: Node) -> None:
    node.machine.run("systemctl kill -s KILL nginx")
    took = node.outside.wait_routes(timeout=5.0)
    assert took < 5.0
    node.machine.run("systemctl restart nginx")
    node.outside.wait_routes(WEB)


def test_controls_end_leaves_the_others(node: Node) -> None:
    """Its whole cgroup: the prefixes stay within the grace, and tunnel and steering for good."""
    others = {n: node.machine.main_pid(service(n)) for n in ("lifeline", "steering", "bird")}
    seen = node.outside.seen(WEB)
    node.machine.run("systemctl kill -s KILL --kill-whom=all edgenode-control")
    node.machine.until(
        lambda: json.loads(node.machine.run("edgenode status --json")), "control is back"
    )
    time.sleep(6.0)  # longer than the grace
    assert node.outside.seen(WEB) == seen, "no route moved"
    assert {n: node.machine.main_pid(service(n)) for n in others} == others
    assert "wg0" in node.machine.run("ip link show wg0")


def test_control_gone_for_good_withdraws_and_leaves_the_others(node: Node) -> None:
    others = {n: node.machine.main_pid(service(n)) for n in ("lifeline", "steering", "bird")}
    node.machine.run("systemctl stop edgenode-control")
    node.outside.wait_routes(timeout=10.0)
    assert {n: node.machine.main_pid(service(n)) for n in others} == others
    node.machine.run("systemctl start edgenode-control")
    node.outside.wait_routes(WEB)


def test_a_reload_takes_up_the_file_and_says_what_is_wrong(node: Node) -> None:
    toml = "/etc/edgenode/edgenode.toml"
    pid = node.machine.main_pid(service("control"))
    seen = node.outside.seen(WEB)
    node.machine.write(toml, CONFIG.replace('interval = "200ms"', 'interval = "250ms"'))
    node.machine.run("systemctl reload edgenode-control")
    assert "Nothing changes" in node.machine.run("edgenode apply --dry-run")
    node.machine.write(toml, f"{CONFIG}[nonsense]\n")
    assert "failed" in node.machine.run("systemctl reload edgenode-control", check=False)
    assert "nonsense: unknown key" in node.machine.journal(50)
    node.machine.write(toml, CONFIG)
    node.machine.run("edgenode apply --confirm 5s")
    node.machine.run("edgenode confirm")
    mode = node.machine.run("stat -c '%a %U' /var/lib/edgenode/control/confirmed.toml")
    assert mode.strip() == "600 edgenode"
    assert node.machine.main_pid(service("control")) == pid
    assert node.outside.seen(WEB) == seen, "no route moved"


def test_a_reload_of_steering_brings_another_process_with_all_connections(node: Node) -> None:
    unit = service("steering")
    for _ in range(2):
        pid = node.machine.main_pid(unit)
        node.machine.run(f"systemctl reload {unit}")
        assert node.machine.main_pid(unit) not in (0, pid)
        node.machine.until(
            lambda: json.loads(node.machine.run("edgenode status --json"))["steering"]["connected"],
            "control has found it",
        )
    assert node.machine.property(unit, "NRestarts") == "0"
    wait_state(node, "steering", "active")
    said = node.machine.run(f"journalctl --no-pager -u {unit}")
    assert said.count("has taken over, with all connections") == 2
    assert f"{unit}: Killing" not in said


def test_what_bird_would_refuse_is_not_written(node: Node) -> None:
    """Its parser runs in the unit's sandbox, with the secrets beside it."""
    toml, written = "/etc/edgenode/edgenode.toml", "/var/lib/edgenode/bird/bird.conf"
    before = node.machine.run(f"cat {written}")
    node.machine.write("/etc/edgenode/more.conf", "\nprotocol nonsense;\n")
    include = 'router_id = "198.51.100.2"\ninclude = ["/etc/edgenode/more.conf"]'
    node.machine.write(toml, CONFIG.replace('router_id = "198.51.100.2"', include))
    node.machine.run("systemctl restart edgenode-render", check=False)
    assert "BIRD refuses it: /etc/edgenode/more.conf:2" in node.machine.journal(50)
    assert node.machine.run(f"cat {written}") == before
    node.machine.write(toml, CONFIG)
    node.machine.run("systemctl restart edgenode-render")


def test_a_hung_control_is_started_anew(node: Node) -> None:
    before = node.machine.main_pid(service("control"))
    node.machine.run("systemctl kill -s STOP edgenode-control")
    node.machine.until(
        lambda: node.machine.main_pid(service("control")) not in (0, before), "a new control", 60.0
    )
    node.outside.wait_routes(WEB, timeout=40.0)


def test_a_unit_that_hangs_holds_up_no_boot(node: Node) -> None:
    """systemd gives a oneshot all the time there is, and what comes after it waits."""
    for name in ("mesh", "render", "keys"):
        assert node.machine.property(service(name), "TimeoutStartUSec") != "infinity"


def test_a_check_that_eats_memory_fails_alone(node: Node) -> None:
    """What is asked of systemd, since not every host of this test has memory to account for."""
    assert node.machine.property(service("exec"), "OOMPolicy") == "continue"


@pytest.mark.parametrize("name", [*OURS, "bird"])
def test_the_sandbox(node: Node, name: str) -> None:
    """What `systemd-analyze security` says of it: below 2.5 for each."""
    said = node.machine.run(f"systemd-analyze security --no-pager {service(name)}")
    exposure = float(said.rsplit("exposure level for", 1)[1].split(":")[1].split()[0])
    print(f"{service(name)}: {exposure}")
    assert exposure < 2.5, said


def test_after_a_power_cut_it_announces_by_itself(node: Node) -> None:
    node.machine.run("systemctl enable nginx; sync")
    node.machine.stop()
    node.outside.wait_routes(timeout=20.0)
    node.machine.start()
    node.outside.wait_routes(WEB, timeout=30.0)


def test_the_end_of_all_withdraws_first(node: Node) -> None:
    node.machine.run("systemctl stop edgenode.target")
    node.outside.wait_routes(timeout=10.0)
    # The lifeline's end withdraws; users' connections end when nobody is sent here any more.
    before = 0
    for name in ("control", "lifeline", "bird", "steering"):
        wait_state(node, name, "inactive")
        began, ended = (
            int(node.machine.property(service(name), f"{each}TimestampMonotonic"))
            for each in ("ActiveExit", "InactiveEnter")
        )
        assert before <= began, f"{name} did not wait for the one before it"
        before = ended
    wait_state(node, "exec", "inactive")
