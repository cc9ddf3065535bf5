"""The Vagrantfile by itself: what it makes of its variables, and the fleet that it reads."""

from __future__ import annotations

import json
import os
import re
import subprocess
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from typing import Any

import pytest

from tests.system.tree import PROJECT

pytestmark = pytest.mark.slow

FLEET = PROJECT / "ansible/vagrant/fleet"
DOCUMENTATION = [ip_network(n) for n in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24")]
VENV = PROJECT / ".venv-ansible/bin"


def vagrant(directory: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("EDGENODE_")},
        "VAGRANT_HOME": str(directory / "home"),
        "VAGRANT_DOTFILE_PATH": str(directory / "dotfile"),
        "VAGRANT_CWD": str(PROJECT),
        "VAGRANT_CHECKPOINT_DISABLE": "1",
        **settings,
    }
    return subprocess.run(
        ["vagrant", *arguments], env=environment, capture_output=True, text=True, timeout=60
    )


def test_it_is_valid(tmp_path: Path) -> None:
    done = vagrant(tmp_path, "validate")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (
            {"EDGENODE_VAGRANT_NODES": "lon1,transti"},
            "no node is named transti; there are ",
        ),
        ({"EDGENODE_VAGRANT_NODES": "transit,user"}, "there has to be an edge"),
        ({"EDGENODE_VAGRANT_MEMORY": "lots"}, "EDGENODE_VAGRANT_MEMORY must be a number"),
        ({"EDGENODE_VAGRANT_CPUS": "0"}, "EDGENODE_VAGRANT_CPUS must be a number, at least 1"),
        ({"EDGENODE_VAGRANT_EMULATE": "yes"}, "EDGENODE_VAGRANT_EMULATE must be 0 or 1"),
        ({"EDGENODE_BOX": "/nowhere/edgenode.box"}, "there is no file /nowhere/edgenode.box"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(
    tmp_path: Path, settings: dict[str, str], says: str
) -> None:
    done = vagrant(tmp_path, "up", **settings)
    assert done.returncode == 1
    assert says in done.stderr
    assert done.stderr.startswith("Vagrantfile: ")
    assert done.stderr.count("\n") == 1


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The whole lab's variables as Ansible resolves them."""
    inventory = tmp_path_factory.mktemp("inventory") / "vagrant"
    inventory.write_text(
        "[edges]\nlon1\nams1\n[workers]\nfra-1\niad-1\n[routers]\ntransit\n[users]\nuser\n"
    )
    program = (
        "import json, sys\n"
        "from ansible.inventory.manager import InventoryManager\n"
        "from ansible.parsing.dataloader import DataLoader\n"
        "from ansible.template import Templar\n"
        "from ansible.vars.manager import VariableManager\n"
        "loader = DataLoader()\n"
        "inventory = InventoryManager(loader, sys.argv[1:])\n"
        "variables = VariableManager(loader, inventory)\n"
        "names = ('lab_hosts', 'lab_me', 'lab_link', 'edgenode_network_files')\n"
        "print(json.dumps({host.name: {name: Templar(loader, own).template(own[name])\n"
        "    for own in [variables.get_vars(host=host)] for name in names\n"
        "    if name in own and not (name == 'lab_link' and host.name == 'transit')}\n"
        "    for host in inventory.get_hosts()}, default=str))\n"
    )
    done = subprocess.run(
        [str(VENV / "python"), "-c", program, str(inventory), str(FLEET / "hosts.yml")],
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": f"{VENV}:/usr/bin:/bin", "HOME": str(inventory.parent)},
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_addresses_are_documentations_and_each_link_is_one_network(seen: dict[str, Any]) -> None:
    hosts = seen["transit"]["lab_hosts"]
    links, mesh = set(), set()
    for name, host in hosts.items():
        for key in ("address", "router", "mesh"):
            if key in host:
                assert any(ip_address(host[key]) in n for n in DOCUMENTATION), (name, key)
        if host["role"] != "router":
            link = ip_interface(f"{host['address']}/29").network
            assert ip_address(host["router"]) in link, name
            assert link not in links
            links.add(link)
        if "mesh" in host:
            assert host["mesh"] not in mesh
            mesh.add(host["mesh"])
    assert not any(ip_address(own) in link for own in mesh for link in links)


def test_the_card_that_vagrant_makes_is_the_one_that_gets_the_address(seen: dict[str, Any]) -> None:
    """The Vagrantfile makes the MAC address of the IPv4 address, and so does the playbook."""
    assert 'format("5254%02x%02x%02x%02x"' in (PROJECT / "Vagrantfile").read_text()
    for name, own in seen.items():
        if "lab_link" not in own:
            continue
        match = re.search(r"MACAddress=(\S+)", own["lab_link"])
        assert match
        octets = [int(part, 16) for part in match[1].split(":")]
        assert octets[:2] == [0x52, 0x54]
        assert ".".join(map(str, octets[2:])) == own["lab_me"]["address"], name
        routes = re.findall(r"Destination=(\S+)", own["lab_link"])
        assert ("203.0.113.0/24" in routes) == (own["lab_me"]["role"] == "user")


def test_the_playbook_takes_the_inventory(tmp_path: Path) -> None:
    """The whole lab, and the smallest: the same check that comes before any run."""
    for groups in (
        "[edges]\nlon1\nams1\n[workers]\nfra-1\niad-1\n[routers]\ntransit\n[users]\nuser\n",
        "[edges]\nlon1\n[workers]\ntransit\n[routers]\ntransit\n[users]\n",
    ):
        inventory = tmp_path / "vagrant"
        inventory.write_text(groups)
        done = subprocess.run(
            [
                *(str(PROJECT / "ansible/vagrant/ansible-playbook"), "-i", str(inventory)),
                *("-i", str(FLEET / "hosts.yml"), "--tags", "always"),
                str(PROJECT / "ansible/vagrant/lab.yml"),
            ],
            capture_output=True,
            text=True,
            timeout=100,
            env={**os.environ, "ANSIBLE_CONFIG": str(PROJECT / "ansible/ansible.cfg")},
        )
        assert done.returncode == 0, done.stdout + done.stderr
