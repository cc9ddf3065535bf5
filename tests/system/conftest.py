"""A provisioned edge node on a machine with systemd, and the world outside it."""

from __future__ import annotations

import shutil
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.system.machine import WIREGUARD_GO, Machine
from tests.system.outside import Outside
from tests.system.tree import PROJECT, debian

WEB = "203.0.113.0/24"

CONFIG = f"""
[node]
name = "lon1"
[bgp]
asn = 64700
router_id = "198.51.100.2"
[[bgp.neighbors]]
name = "transit"
address = "198.51.100.1"
asn = 64601
source = "198.51.100.2"
password_file = "/etc/edgenode/secrets/transit.md5"
[lifeline]
grace = "5s"
[[groups]]
name = "web"
prefixes = ["{WEB}"]
addresses = ["203.0.113.1"]
ports = ["tcp/80"]
checks = ["nginx", "who"]
damping.enabled = false  # what is killed here so often an upstream would not bear
[[groups]]
name = "steered"
prefixes = ["192.0.2.0/24"]
addresses = ["192.0.2.1"]
damping.enabled = false
[[checks]]
name = "nginx"
type = "http"
url = "http://203.0.113.1:80/"
interval = "200ms"
[[checks]]
name = "who"
type = "exec"
command = ["sh", "-c", "id -un; test -e /var/lib/edgenode/who-is-well"]
interval = "200ms"
[[services]]
name = "app"
group = "steered"
listen = ["192.0.2.1:443"]
port = 8443
[[regions]]
name = "fra"
[[regions.workers]]
name = "fra-1"
addresses = ["198.51.100.201"]
[mesh]
addresses = ["198.51.100.193"]
[[mesh.peers]]
name = "fra"
public_key = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="
endpoint = "198.51.100.1:51820"
allowed = ["198.51.100.200/29"]
[metrics]
listen = "127.0.0.1:9500"
"""

RULES = '[firewall]\nmanagement = ["198.51.100.0/30"]\n'

NGINX = "server { listen 203.0.113.1:80; location / { return 200 ok; } }"


@dataclass
class Node:
    """The machine and what is outside of it."""

    machine: Machine
    outside: Outside

    def provision(self) -> None:
        """What Ansible would do, by hand: configuration, secret, firewall, start."""
        self.machine.write("/etc/edgenode/edgenode.toml", CONFIG + RULES)
        self.machine.write("/etc/transit.md5", "a shared secret\n")
        self.machine.run(
            "install -d -m 750 -g edgenode /etc/edgenode/secrets; "
            "install -m 600 -o edgenode /etc/transit.md5 /etc/edgenode/secrets/transit.md5; "
            "rm /etc/transit.md5; touch /var/lib/edgenode/who-is-well; "
            "edgenode firewall apply --no-undo; "  # no neighbor is spoken to under the baseline
            "systemctl start edgenode.target"
        )


def install(files: Path) -> None:
    """What the image has: our system files, the package, its launcher."""
    shutil.copytree(PROJECT / "images/node", files, dirs_exist_ok=True)
    shutil.copytree(
        PROJECT / "edgenode",
        files / "usr/lib/edgenode/edgenode",
        ignore=shutil.ignore_patterns("__pycache__", "lab"),
    )
    (files / "usr/bin").mkdir(parents=True, exist_ok=True)
    shutil.copy(PROJECT / "images/launcher", files / "usr/bin/edgenode")
    units = files / "etc/systemd/system"
    units.mkdir(parents=True, exist_ok=True)
    (units / "wireguard-go.service").write_text(WIREGUARD_GO)
    site = files / "etc/nginx/sites-enabled/default"
    site.parent.mkdir(parents=True, exist_ok=True)
    site.write_text(NGINX)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With the report of a failure come the journals of the machines that the test used."""
    report = yield
    if report.failed:
        for value in getattr(item, "funcargs", {}).values():
            machine = value.machine if isinstance(value, Node) else value
            if isinstance(machine, Machine):
                report.sections.append((f"the journal of {machine.name}", machine.journal(150)))
    return report


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """Installed, started, not provisioned."""
    directory = tmp_path_factory.mktemp("lon1")
    machine = Machine("lon1", debian(), directory)
    outside = Outside(machine, directory)
    try:
        install(machine.files)
        machine.start()
        machine.run(
            "systemctl disable --now bird.service nginx.service; systemd-sysusers; "
            "systemd-tmpfiles --create; systemctl enable --now wireguard-go edgenode-firewall "
            "edgenode-keys; systemctl enable edgenode.target; "
            "sysctl -qw net.ipv4.ip_nonlocal_bind=1"  # nginx starts before its address is there
        )
        yield Node(machine, outside)
    finally:
        outside.close()
        machine.close()
