"""Two edges, one of each Debian, and a worker as plain machines around a router with BIRD.

The router's namespace is the operator's machine too: the playbook runs there, and reaches the
machines by SSH alone.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.system.machine import WIREGUARD_GO, Machine, ip
from tests.system.outside import start_bird
from tests.system.tree import PROJECT, debian

EDGES = {"lon1": 0, "ams1": 8}
WORKERS = {"fra-1": 40}
HOSTS = {**EDGES, **WORKERS}
NO_DAMPING = {"enabled": False}
"""What is killed here so often an upstream would not bear."""
"""Each host's link is a /29 in 198.51.100.0/24 from this number on: router +2, host +3."""
MESH = {"lon1": "198.51.100.193", "ams1": "198.51.100.194", "fra-1": "198.51.100.201"}

RELEASES = {"lon1": "trixie", "ams1": "bookworm", "fra-1": "trixie"}

WEB_SERVICE = {
    "name": "web",
    "group": "web",
    "listen": ["203.0.113.1:443"],
    "port": 8080,
    "proxy_protocol": "none",
}
STEERING_CHECK = {"name": "steering", "type": "tcp", "target": "203.0.113.1:443"}

VENV = PROJECT / ".venv-ansible" / "bin"


def router_address(host: str) -> str:
    """The router's end of a host's link."""
    return f"198.51.100.{HOSTS[host] + 2}"


def address(host: str) -> str:
    """A host's end of its link."""
    return f"198.51.100.{HOSTS[host] + 3}"


@dataclass
class Run:
    """What a run of the playbook said."""

    code: int
    output: str

    def changed(self) -> dict[str, int]:
        """Changes of each host, from the recap."""
        return {
            m[1]: int(m[2]) for m in re.finditer(r"^(\S+) +: .*changed=(\d+)", self.output, re.M)
        }


@dataclass
class Fleet:
    """Machines, router, and the inventory on disk."""

    directory: Path
    router: str
    machines: dict[str, Machine] = field(default_factory=dict)

    @property
    def inventory(self) -> Path:
        return self.directory / "inventory"

    def command(self, *arguments: str) -> list[str]:
        """`ansible-playbook` on the operator's machine."""
        return [
            *("ip", "netns", "exec", self.router, str(VENV / "ansible-playbook")),
            *("--vault-password-file", str(self.directory / "passphrase")),
            *(
                "-i",
                str(self.inventory / "hosts.yml"),
                *arguments,
                str(PROJECT / "ansible/site.yml"),
            ),
        ]

    def environment(self) -> dict[str, str]:
        return {
            "PATH": f"{VENV}:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(self.directory),
            "ANSIBLE_CONFIG": str(PROJECT / "ansible/ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
            "LC_ALL": "C.UTF-8",
        }

    def play(self, *arguments: str, timeout: float = 600.0) -> Run:
        """Run the playbook."""
        done = subprocess.run(
            self.command(*arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            env=self.environment(),
        )
        (self.directory / f"play-{time.monotonic():.0f}.log").write_text(done.stdout)
        return Run(done.returncode, done.stdout)

    def write(self, path: str, variables: Mapping[str, Any]) -> None:
        """A file of the inventory. JSON is YAML."""
        file = self.inventory / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(variables, indent=1) + "\n")

    def encrypt(self, path: str) -> None:
        """Make a file of the inventory one of Ansible Vault."""
        passphrase = self.directory / "passphrase"
        passphrase.write_text("of-the-test\n")
        subprocess.run(
            [
                *(str(VENV / "ansible-vault"), "encrypt", "--vault-password-file"),
                *(str(passphrase), str(self.inventory / path)),
            ],
            check=True,
            capture_output=True,
            env=self.environment(),
        )

    def write_secret(self) -> None:
        """The edges' secret, by Ansible Vault."""
        path = "group_vars/edges/vault.yml"
        self.write(path, {"edgenode_secrets": {"spare.md5": "a-secret-word"}})
        self.encrypt(path)

    @contextmanager
    def altered(self, path: str, change: Callable[[dict[str, Any]], None]) -> Iterator[None]:
        """The inventory with one file changed, for a while."""
        file = self.inventory / path
        before = file.read_text()
        variables = json.loads(before)
        change(variables)
        self.write(path, variables)
        try:
            yield
        finally:
            file.write_text(before)

    def routes(self) -> dict[str, set[str]]:
        """Prefixes that the router has of each edge, drained ones left out."""
        answer = subprocess.run(
            ["birdc", "-s", str(self.directory / "bird.ctl"), "show", "route", "all"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        found: dict[str, set[str]] = {}
        prefix, edge = "", ""
        for line in answer.splitlines():
            if match := re.match(r"(\S+/\d+)? +unicast \[(\w+)", line):
                prefix, edge = match[1] or prefix, match[2]
                found.setdefault(edge, set()).add(prefix)
            elif "BGP.community" in line and "(65535,0)" in line:
                found[edge].discard(prefix)
        return found

    def until(self, what: Callable[[], Any], name: str, timeout: float = 60.0) -> None:
        """Wait until `what` is true."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            with suppress(Exception):
                if what():
                    return
            time.sleep(0.2)
        raise AssertionError(f"{name}: not within {timeout:g} s; routes: {self.routes()}")


@contextmanager
def running(directory: Path) -> Iterator[Fleet]:
    """The machines, up and bare; the inventory, right."""
    fleet = Fleet(directory, f"t-sys-{os.getpid()}-fleet")
    trees = {host: debian(release) for host, release in RELEASES.items()}
    _keys(fleet, trees)
    _inventory(fleet)
    ip("netns", "add", fleet.router)
    bird = None
    try:
        ip("-n", fleet.router, "link", "set", "lo", "up")
        inside(fleet.router, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        for host in HOSTS:
            machine = Machine(host, trees[host], directory / host)
            fleet.machines[host] = machine
            wire(fleet.router, machine, host)
            _prepare(fleet, machine, host)
            machine.start()
        bird = router_bird(fleet)
        yield fleet
    finally:
        if bird is not None:
            bird.terminate()
            bird.wait()
        for machine in fleet.machines.values():
            machine.close()
        ip("netns", "delete", fleet.router)


def _keys(fleet: Fleet, trees: Mapping[str, Path]) -> None:
    """The operator's SSH key, and the host keys that he knows."""
    key = fleet.directory / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    known = ""
    for host, tree in trees.items():
        host_key = (tree / "etc/ssh/ssh_host_ed25519_key.pub").read_text().split()[:2]
        known += f"{address(host)} {' '.join(host_key)}\n"
    (fleet.directory / "known_hosts").write_text(known)


def _prepare(fleet: Fleet, machine: Machine, host: str) -> None:
    let_in(machine, fleet.directory / "id.pub")
    # As on the image: a session knows the key that opened it.
    sshd = machine.files / "etc/ssh/sshd_config.d"
    sshd.mkdir(parents=True)
    (sshd / "expose.conf").write_text("ExposeAuthInfo yes\n")
    if host in EDGES:
        units = machine.files / "etc/systemd/system"
        wants = units / "edgenode-mesh.service.requires"
        wants.mkdir(parents=True)
        (units / "wireguard-go.service").write_text(WIREGUARD_GO)
        (wants / "wireguard-go.service").symlink_to("../wireguard-go.service")


def let_in(machine: Machine, public_key: Path) -> None:
    """Whoever has the key may log in as root."""
    ssh = machine.files / "root/.ssh"
    ssh.mkdir(parents=True, mode=0o700)
    (ssh / "authorized_keys").write_text(public_key.read_text())


def wire(router: str, machine: Machine, host: str) -> None:
    name = host.replace("-", "")
    ip(
        *("-n", router, "link", "add", name, "type", "veth"),
        *("peer", "name", "eth0", "netns", machine.namespace),
    )
    for namespace, device, own in (
        (router, name, router_address(host)),
        (machine.namespace, "eth0", address(host)),
    ):
        ip("-n", namespace, "addr", "add", f"{own}/29", "dev", device)
        ip("-n", namespace, "link", "set", device, "up")
    ip("-n", machine.namespace, "route", "add", "default", "via", router_address(host))


def router_bird(fleet: Fleet) -> subprocess.Popen[bytes]:
    protocols = "".join(
        f"protocol bgp {edge} {{ local {router_address(edge)} as 64601; "
        f"neighbor {address(edge)} as 64700; "
        "ipv4 { import all; export none; add paths rx; }; connect retry time 2; "
        "error wait time 1, 2; }\n"
        for edge in EDGES
    )
    config = fleet.directory / "bird.conf"
    config.write_text(
        f"router id 198.51.100.254;\nprotocol device {{ }}\n"
        f"protocol direct {{ ipv4; }}\n{protocols}"
    )
    return start_bird(fleet.router, config)


def _inventory(fleet: Fleet) -> None:
    ssh = (
        f"-o UserKnownHostsFile={fleet.directory}/known_hosts "
        f"-o IdentityFile={fleet.directory}/id -o IdentitiesOnly=yes"
    )
    fleet.write(
        "hosts.yml",
        {
            "all": {"vars": {"ansible_user": "root", "ansible_ssh_extra_args": ssh}},
            "edges": {"hosts": {host: {"ansible_host": address(host)} for host in EDGES}},
            "workers": {
                "hosts": {
                    host: {"ansible_host": address(host), "edgenode_region": "fra"}
                    for host in WORKERS
                }
            },
        },
    )
    fleet.write(
        "group_vars/edges/main.yml",
        {
            "edgenode_groups": [
                {
                    "name": "web",
                    "prefixes": ["203.0.113.0/24"],
                    "addresses": ["203.0.113.1"],
                    "checks": ["steering"],
                    "damping": NO_DAMPING,
                },
                {
                    "name": "static",
                    "prefixes": ["192.0.2.0/24"],
                    "addresses": ["192.0.2.1"],
                    "ports": ["tcp/80"],
                    "checks": ["disk"],
                    "damping": NO_DAMPING,
                },
            ],
            "edgenode_checks": [
                STEERING_CHECK,
                {"name": "disk", "type": "exec", "command": ["/bin/true"]},
            ],
            "edgenode_services": [WEB_SERVICE],
            "edgenode_firewall": {"management": ["198.51.100.0/24"]},
            "edgenode_verify_timeout": 60,
        },
    )
    fleet.write_secret()
    for host in EDGES:
        fleet.write(f"host_vars/{host}.yml", edge_variables(host))
    for host in WORKERS:
        fleet.write(f"host_vars/{host}.yml", worker_variables(host))


def edge_variables(host: str) -> dict[str, Any]:
    """What an edge has of its own: its session with the router, its place in the mesh."""
    return {
        "edgenode_bgp": {
            "asn": 64700,
            "router_id": f"198.51.100.{161 + [*EDGES].index(host)}",
            "drain_time": "1s",
            "neighbors": [{"name": "router", "address": router_address(host), "asn": 64601}],
        },
        **worker_variables(host),
    }


def worker_variables(host: str) -> dict[str, Any]:
    """A host's place in the mesh, which is all that a worker has of its own."""
    return {
        "edgenode_mesh": {
            "addresses": [MESH[host]],
            "endpoint": f"{address(host)}:51820",
            "keepalive": "5s",
        }
    }


def wheels() -> None:
    """Collect the wheels where there is a way to packages: the router's namespace has none."""
    from edgenode.inventory import release

    for python in ("3.13", "3.11"):
        subprocess.run(
            [
                *(str(PROJECT / "ansible/roles/software/files/wheels"), str(VENV / "python")),
                *(python, os.uname().machine, release(PROJECT)),
            ],
            check=True,
            stdout=subprocess.DEVNULL,
        )


def inside(namespace: str, *command: str) -> None:
    """Run a command in a namespace."""
    ip("netns", "exec", namespace, *command)
