"""A site around one appliance: a router with BIRD, a worker, and the operator's playbook.

The appliance is a virtual machine with its image's kernel; the worker is a plain Debian machine in
namespaces. The router's namespace is also the operator's machine and the user's.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.appliance.vm import DATA_MAC, SSH_PORT, TAP, Vm, accelerator
from tests.system import fleet as plain
from tests.system.fleet import Fleet
from tests.system.machine import Machine, ip
from tests.system.tree import debian

EDGE, WORKER = "lon1", "fra-1"
PREFIX = "203.0.113.0/24"
SERVICE = "http://203.0.113.1:443/"
LARGE = "x" * 65536
"""What the worker has under the path `large`: many full packets."""


class Site:
    """All of it. `fleet` has playbook, inventory and the router's routes."""

    def __init__(self, vm: Vm, fleet: Fleet) -> None:
        self.vm = vm
        self.fleet = fleet

    @property
    def announced(self) -> set[str]:
        """What the router has from the appliance."""
        return self.fleet.routes().get(EDGE, set())

    def wait_announced(self, *prefixes: str, timeout: float = 300.0) -> float:
        """Seconds until the appliance announces just these."""
        started = time.monotonic()
        what = f"{set(prefixes) or 'nothing'} is announced"
        self.vm.until(lambda: self.announced == set(prefixes), what, timeout, 0.1)
        return time.monotonic() - started

    def get(self, path: str = "", timeout: float = 30.0) -> str:
        """What a user gets from the service, "" where he gets nothing."""
        done = subprocess.run(
            [
                *("ip", "netns", "exec", self.fleet.router),
                *("curl", "-s", "--noproxy", "*", "-m", str(timeout), SERVICE + path),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout

    @contextmanager
    def black_hole(self, size: int) -> Iterator[None]:
        """WireGuard's larger IP packets vanish between edge and worker, and nobody is told."""
        plain.inside(
            self.fleet.router,
            "nft",
            "add table inet hole; add chain inet hole f { type filter hook forward priority 0; }; "
            f"add rule inet hole f udp dport 51820 meta length > {size} counter drop",
        )
        try:
            yield
        finally:
            plain.inside(self.fleet.router, "nft", "delete table inet hole")


@contextmanager
def running(directory: Path, image: Path) -> Iterator[Site]:
    """The appliance is on, and not provisioned."""
    fleet = Fleet(directory, f"t-sys-{os.getpid()}-appliance")
    vm: Vm | None = None
    bird = None
    ip("netns", "add", fleet.router)
    worker = Machine(WORKER, debian(), directory / WORKER)
    fleet.machines[WORKER] = worker
    try:
        for command in (
            "link set lo up",
            f"tuntap add {TAP} mode tap",
            f"addr add {plain.router_address(EDGE)}/29 dev {TAP}",
            f"link set {TAP} up",
            # What a transit router would learn by BGP; it announces to nobody here.
            f"route add {PREFIX} via {plain.address(EDGE)}",
        ):
            ip("-n", fleet.router, *command.split())
        plain.inside(fleet.router, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        vm = Vm(image, directory, fleet.router, accelerator())
        _worker(fleet, worker, vm)
        _inventory(fleet, vm)
        bird = plain.router_bird(fleet)
        vm.power_on()
        yield Site(vm, fleet)
    finally:
        if vm is not None:
            vm.close()
        if bird is not None:
            bird.kill()
            bird.wait()
        worker.close()
        subprocess.run(["ip", "netns", "delete", fleet.router], check=False)


def _worker(fleet: Fleet, worker: Machine, vm: Vm) -> None:
    plain.wire(fleet.router, worker, WORKER)
    # Its wireguard-go hands over several packets as one (UDP_SEGMENT), and `black_hole` looks at
    # each by itself, as a router on the way does.
    ip("-n", worker.namespace, "link", "set", "dev", "eth0", "gso_max_segs", "1")
    plain.let_in(worker, vm.key.with_suffix(".pub"))
    (worker.files / "srv").mkdir(exist_ok=True)
    (worker.files / "srv/index.html").write_text("hello from fra\n")
    (worker.files / "srv/large").write_text(LARGE)
    worker.start()
    worker.run("systemd-run -q --unit=app -p WorkingDirectory=/srv python3 -m http.server 8080")


def _inventory(fleet: Fleet, vm: Vm) -> None:
    ssh = (
        f"-o UserKnownHostsFile={fleet.directory}/known_hosts -o StrictHostKeyChecking=accept-new "
        f"-o IdentityFile={vm.key} -o IdentitiesOnly=yes"
    )
    edge = plain.edge_variables(EDGE)
    # That a black hole has gone is looked for after 10 minutes otherwise.
    edge["edgenode_mesh"]["paths"] = {"grow_interval": "10s"}
    variables: dict[str, Any] = {
        "hosts.yml": {
            "all": {
                "vars": {
                    "ansible_user": "root",
                    "ansible_ssh_extra_args": ssh,
                    "ansible_timeout": 90,
                }
            },
            "edges": {"hosts": {EDGE: {"ansible_host": "127.0.0.1", "ansible_port": SSH_PORT}}},
            "workers": {
                "hosts": {WORKER: {"ansible_host": plain.address(WORKER), "edgenode_region": "fra"}}
            },
        },
        "group_vars/all.yml": {
            "edgenode_authorized_keys": [vm.key.with_suffix(".pub").read_text().strip()]
        },
        "group_vars/edges/main.yml": {
            "edgenode_groups": [
                {
                    "name": "web",
                    "prefixes": [PREFIX],
                    "addresses": ["203.0.113.1"],
                    "checks": ["steering", "disk"],
                    # What is killed here so often an upstream would not bear.
                    "damping": {"enabled": False},
                }
            ],
            "edgenode_checks": [
                plain.STEERING_CHECK,
                {"name": "disk", "type": "exec", "command": ["/bin/true"], "timeout": "20s"},
            ],
            "edgenode_services": [plain.WEB_SERVICE],
            # An emulated machine takes half a minute to start control again: no withdraw for that.
            "edgenode_lifeline": {"grace": "60s"},
            # Ansible comes through QEMU's own network.
            "edgenode_firewall": {"management": ["10.0.2.0/24"]},
            "edgenode_verify_timeout": 300,
        },
        f"host_vars/{EDGE}.yml": {
            **edge,
            "edgenode_network_files": {
                "10-uplink.network": (
                    f"[Match]\nMACAddress={DATA_MAC}\n\n"
                    f"[Network]\nAddress={plain.address(EDGE)}/29\nKeepConfiguration=yes\n\n"
                    f"[Route]\nGateway={plain.router_address(EDGE)}\nMetric=50\n"
                )
            },
        },
        f"host_vars/{WORKER}.yml": plain.worker_variables(WORKER),
    }
    for path, content in variables.items():
        fleet.write(path, content)
    fleet.write_secret()
