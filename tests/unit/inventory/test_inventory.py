"""What an inventory means, and what is refused in it."""

from __future__ import annotations

import copy
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenode import inventory
from edgenode.config import Config, load
from edgenode.inventory import Fleet, Problem
from edgenode.inventory.nodes import TABLES

ROOT = Path(__file__).parents[3]

GROUP = {
    "name": "web",
    "prefixes": ["203.0.113.0/24"],
    "addresses": ["203.0.113.1"],
    "ports": ["tcp/80"],
    "checks": ["disk"],
}


KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEbmhSuzzlz8AOlzcQw8XyjYlY6yz0n2T7Y4Gm2Wqfzd"


def edge(number: int) -> dict[str, Any]:
    return {
        "ansible_host": f"198.51.100.{number}",
        "edgenode_bgp": {
            "asn": 64700,
            "router_id": f"198.51.100.{160 + number}",
            "neighbors": [{"name": "transit", "address": "198.51.100.254", "asn": 64601}],
        },
        "edgenode_groups": [copy.deepcopy(GROUP)],
        "edgenode_checks": [{"name": "disk", "type": "exec", "command": ["true"]}],
        "edgenode_firewall": {"management": ["198.51.100.0/24"]},
        "edgenode_mesh": {
            "addresses": [f"198.51.100.{192 + number}", f"2001:db8:ffff:{number}::1"],
            "endpoint": f"198.51.100.{number}:51820",
        },
    }


def worker(number: int) -> dict[str, Any]:
    return {
        "ansible_host": f"198.51.100.{number}",
        "edgenode_region": "fra",
        "edgenode_mesh": {
            "addresses": [f"198.51.100.{192 + number}", f"2001:db8:ffff:{number}::1"],
            "endpoint": f"198.51.100.{number}:51820",
        },
    }


def hosts() -> dict[str, dict[str, Any]]:
    return {"lon1": edge(1), "ams1.example.net": edge(2), "fra-1": worker(9)}


def read(found: dict[str, dict[str, Any]]) -> tuple[Fleet, list[Problem]]:
    return inventory.read_fleet(found, ["lon1", "ams1.example.net"], ["fra-1"])


def said(found: dict[str, dict[str, Any]]) -> list[str]:
    fleet, problems = read(found)
    every = [*problems, *inventory.unknown_variables(found), *inventory.overlaps(fleet)]
    return [str(problem) for problem in every]


def keys(found: dict[str, dict[str, Any]]) -> dict[str, str]:
    return {host: inventory.placeholder_key(host) for host in found}


def test_a_right_inventory_gives_configurations_that_check_config_takes(tmp_path: Path) -> None:
    found = hosts()
    found["lon1"]["edgenode_maintenance_file"] = "/etc/edgenode/maintenance"
    assert said(found) == []
    fleet, _ = read(found)
    text = inventory.dumps(inventory.configuration(fleet, "lon1", keys(found)))
    file = tmp_path / "edgenode.toml"
    file.write_text(text)
    config = load(file, check_secrets=False)
    assert config.node.maintenance_file == Path("/etc/edgenode/maintenance")
    assert config.mesh
    assert [(peer.name, str(peer.endpoint)) for peer in config.mesh.peers] == [
        ("ams1", "198.51.100.2:51820"),
        ("fra-1", "198.51.100.9:51820"),
    ]
    assert [str(a) for a in config.mesh.peers[1].allowed] == [
        "198.51.100.201/32",
        "2001:db8:ffff:9::1/128",
    ]
    assert [worker.name for worker in config.regions[0].workers] == ["fra-1"]


@pytest.mark.parametrize(
    ("addresses", "siblings"),
    [(["198.51.100.194", "2001:db8:ffff:2::1"], ["ams1"]), (["198.51.100.194"], [])],
)
def test_edges_are_siblings_where_the_mesh_lets_them_speak(
    tmp_path: Path, addresses: list[str], siblings: list[str]
) -> None:
    found = hosts()
    found["lon1"]["edgenode_mesh"]["addresses"] = ["2001:db8:ffff:1::1"]
    found["fra-1"]["edgenode_mesh"]["addresses"] = ["2001:db8:ffff:9::1"]
    found["ams1.example.net"]["edgenode_mesh"]["addresses"] = addresses
    fleet, _ = read(found)
    file = tmp_path / "edgenode.toml"
    file.write_text(inventory.dumps(inventory.configuration(fleet, "lon1", keys(found))))
    assert [peer.name for peer in load(file, check_secrets=False).edges] == siblings


def test_every_table_of_the_schema_has_its_variable_and_the_variable_its_description() -> None:
    # The rest of these follows from the hosts.
    assert {*TABLES, "node", "regions", "mesh"} == Config.model_fields.keys()
    spec = ROOT / "ansible" / "roles" / "inventory" / "meta" / "argument_specs.yml"
    for table in TABLES:
        assert f"\n      edgenode_{table}: " in spec.read_text()


def test_a_worker_meets_the_edges_alone() -> None:
    found = {**hosts(), "iad-1": worker(10)}
    fleet, _ = inventory.read_fleet(found, ["lon1", "ams1.example.net"], ["fra-1", "iad-1"])
    peers = inventory.configuration(fleet, "fra-1", keys(found))["mesh"]["peers"]
    assert [peer["name"] for peer in peers] == ["lon1", "ams1"]


def test_a_host_that_changes_its_key_is_known_under_both() -> None:
    found = hosts()
    coming = inventory.placeholder_key("coming")
    found["fra-1"]["edgenode_mesh"]["next_public_key"] = coming
    assert said(found) == []
    fleet, _ = read(found)
    own = inventory.configuration(fleet, "fra-1", keys(found))["mesh"]
    assert "next_public_key" not in own
    before = inventory.configuration(fleet, "lon1", keys(found))["mesh"]["peers"][1]
    after = inventory.configuration(fleet, "lon1", {**keys(found), "fra-1": coming})
    assert (before["public_key"], before["next_public_key"]) == (keys(found)["fra-1"], coming)
    assert after["mesh"]["peers"][1]["public_key"] == coming
    assert "next_public_key" not in after["mesh"]["peers"][1], "it has switched"
    found["fra-1"]["edgenode_mesh"]["next_public_key"] = "short"
    assert "fra-1: edgenode_mesh.next_public_key: a WireGuard key is" in said(found)[0]


def test_a_missing_key_is_no_smaller_mesh() -> None:
    fleet, _ = read(hosts())
    with pytest.raises(KeyError, match="fra-1"):
        inventory.configuration(fleet, "lon1", {"ams1.example.net": "k"})


@pytest.mark.parametrize(
    ("host", "path", "value", "sentence"),
    [
        (
            "fra-1",
            ("edgenode_mesh", "addresses"),
            ["198.51.100.193"],
            "fra-1: edgenode_mesh.addresses: the mesh address 198.51.100.193 is lon1's already",
        ),
        (
            "ams1.example.net",
            ("edgenode_bgp", "router_id"),
            "198.51.100.161",
            "ams1.example.net: edgenode_bgp.router_id: the router id 198.51.100.161 is lon1's",
        ),
        ("fra-1", ("edgenode_name",), "lon1", "fra-1: edgenode_name: the name lon1 is lon1's"),
        (
            "fra-1",
            ("ansible_host",),
            "198.51.100.1",
            "fra-1: ansible_host: the login 198.51.100.1:22 is lon1's already",
        ),
        (
            "fra-1",
            ("edgenode_mesh", "allowed"),
            ["198.51.100.192/29"],
            "fra-1: edgenode_mesh.allowed: 198.51.100.192/29 overlaps 198.51.100.193/32 of lon1",
        ),
        (
            "fra-1",
            ("edgenode_mesh", "addresses"),
            ["203.0.113.9"],
            "lon1: edgenode_groups[0].prefixes[0]: the anycast prefix 203.0.113.0/24 overlaps "
            "203.0.113.9/32, which is fra-1's",
        ),
        (
            "fra-1",
            ("edgenode_mesh", "endpoint"),
            "203.0.113.9:51820",
            "lon1: edgenode_groups[0].prefixes[0]: the anycast prefix 203.0.113.0/24 holds fra-1's",
        ),
        (
            "fra-1",
            ("edgenode_mesh", "endpoint"),
            "198.51.100.1:51820",
            "fra-1: edgenode_mesh.endpoint: the endpoint 198.51.100.1:51820 is lon1's already",
        ),
        (
            "fra-1",
            ("edgenode_mesh", "endpoint"),
            "fra_1.example.net:51820",
            'fra-1: edgenode_mesh.endpoint: "fra_1.example.net:51820": write "192.0.2.1:51820"',
        ),
        (
            "fra-1",
            ("edgenode_mesh", "keepalive"),
            "often",
            'fra-1: edgenode_mesh.keepalive: "often": ',
        ),
        ("fra-1", ("edgenode_mesh",), [], "fra-1: edgenode_mesh: must be a mapping"),
        ("fra-1", ("edgenode_region",), "", "fra-1: edgenode_region: a worker belongs to a region"),
        ("lon1", ("edgenode_region",), "fra", "lon1: edgenode_region: an edge belongs to none"),
        (
            "lon1",
            ("edgenode_grups",),
            [],
            "lon1: edgenode_grups: there is no such variable: edgenode_groups is meant?",
        ),
        ("fra-1", ("edgenode_mesh", "adresses"), [], "fra-1: edgenode_mesh.adresses: unknown key"),
        (
            "fra-1",
            ("edgenode_mesh", "keepalive"),
            "15 sec",
            'fra-1: edgenode_mesh.keepalive: "15 sec": write a duration',
        ),
        (
            "fra-1",
            ("edgenode_mesh", "endpoint"),
            None,
            "fra-1: edgenode_mesh.endpoint: is missing: no edge could reach this worker",
        ),
        (
            "lon1",
            ("edgenode_network_files",),
            {"10-uplink": "[Match]"},
            'lon1: edgenode_network_files: "10-uplink" is no name',
        ),
        (
            "lon1",
            ("edgenode_network_files",),
            {"../x.network": "[Match]"},
            'lon1: edgenode_network_files: "../x.network" is no name',
        ),
        (
            "lon1",
            ("edgenode_network_files",),
            {"10-uplink.network": None},
            'lon1: edgenode_network_files: "10-uplink.network" must be text',
        ),
        ("lon1", ("edgenode_groups",), None, "lon1: edgenode_groups: is empty"),
        (
            "lon1",
            ("edgenode_secrets",),
            {"transit.md5": None},
            'lon1: edgenode_secrets: "transit.md5" must be text',
        ),
        (
            "lon1",
            ("edgenode_authorized_keys",),
            KEY,
            "lon1: edgenode_authorized_keys: must be a list",
        ),
        (
            "lon1",
            ("edgenode_authorized_keys",),
            [KEY, KEY[:-8]],
            "lon1: edgenode_authorized_keys[1]: of 72 characters, is no whole SSH public key",
        ),
        (
            "lon1",
            ("edgenode_secrets",),
            {"../x": ""},
            'lon1: edgenode_secrets: "../x" is no file\'s name',
        ),
        (
            "lon1",
            ("edgenode_firewall_includes",),
            {"a/b": ""},
            'lon1: edgenode_firewall_includes: "a/b" is no file\'s name',
        ),
        (
            "fra-1",
            ("edgenode_network_files",),
            {"10-uplink.network": ""},
            "fra-1: edgenode_network_files: a worker has none",
        ),
        (
            "lon1",
            ("edgenode_neighbors_down",),
            "transit",
            "lon1: edgenode_neighbors_down: must be a list of neighbors' names",
        ),
    ],
)
def test_what_clashes_is_said_by_host_and_variable(
    host: str, path: tuple[str, ...], value: Any, sentence: str
) -> None:
    found = hosts()
    place: Any = found[host]
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    assert any(line.startswith(sentence) for line in said(found)), said(found)


@pytest.mark.parametrize(
    ("text", "right"),
    [
        (KEY, True),
        (f'from="192.0.2.0/24",command="a b" {KEY} who@where', True),
        (f"# of the team\n{KEY}\n\n{KEY} second\n", True),
        (f"{KEY}\nhunter2", False),
        ("", False),
        ("hunter2", False),
        ("ssh-ed25519 AAAA", False),
        (KEY.replace("ssh-ed25519", "ssh-rsa"), False),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----", False),
    ],
)
def test_what_sshd_would_pass_over_is_no_key(text: str, right: bool) -> None:
    found = hosts()
    found["lon1"]["edgenode_authorized_keys"] = [text]
    assert (said(found) == []) is right


def test_a_worker_behind_nat_needs_no_endpoint() -> None:
    found = hosts()
    del found["fra-1"]["edgenode_mesh"]["endpoint"]
    found["fra-1"]["edgenode_mesh"]["keepalive"] = "15s"
    assert said(found) == []


def test_a_password_file_that_no_secret_fills_is_refused() -> None:
    found = hosts()
    neighbor = found["lon1"]["edgenode_bgp"]["neighbors"][0]
    neighbor["password_file"] = "/etc/edgenode/secrets/transit.md5"
    (line,) = said(found)
    assert "edgenode_secrets has no transit.md5" in line
    found["lon1"]["edgenode_secrets"] = {"transit.md5": ""}
    assert said(found) == []


def test_a_group_with_a_slip_in_its_name_is_no_smaller_fleet() -> None:
    found = {**hosts(), "monitor": {"ansible_host": "192.0.2.9", "edgenode_authorized_keys": []}}
    fleet, _ = read(found)
    assert list(inventory.strays(found, fleet)) == []
    fleet, _ = inventory.read_fleet(found, [], ["fra-1"])
    assert [str(problem) for problem in inventory.strays(found, fleet)] == [
        "groups: edges: has no host: every worker would lose its peers",
        "lon1: groups: is neither in edges nor in workers: is a name misspelt?",
        "ams1.example.net: groups: is neither in edges nor in workers: is a name misspelt?",
    ]


def test_an_edge_without_a_firewall_is_refused() -> None:
    found = hosts()
    del found["lon1"]["edgenode_firewall"]
    assert "without it nothing but SSH is let in" in said(found)[0]


def test_the_firewalls_files_are_included_behind_those_that_the_node_has() -> None:
    found = hosts()
    found["lon1"]["edgenode_firewall"]["include"] = ["/etc/own.nft"]
    found["lon1"]["edgenode_firewall_includes"] = {"10-mine.nft": "tcp dport 25 accept\n"}
    document = inventory.configuration(read(found)[0], "lon1", keys(found))
    assert document["firewall"]["include"] == ["/etc/own.nft", "/etc/edgenode/firewall/10-mine.nft"]
    assert found["lon1"]["edgenode_firewall"]["include"] == ["/etc/own.nft"]


@pytest.mark.parametrize(
    ("key", "where"),
    [
        ("node.name", ("lon1", "edgenode_name")),
        ("node.maintenance_file", ("lon1", "edgenode_maintenance_file")),
        ("bgp.neighbors[0].asn", ("lon1", "edgenode_bgp.neighbors[0].asn")),
        ("mesh.peers[1].endpoint", ("fra-1", "edgenode_mesh.endpoint")),
        ("mesh.peers[2].endpoint", ("lon1", "edgenode_extra_peers[0].endpoint")),
        ("regions[0].workers[0].name", ("fra-1", "edgenode_mesh.addresses")),
        ("regions[1].name", ("lon1", "edgenode_extra_regions[0]")),
    ],
)
def test_a_key_of_the_file_leads_back_to_the_inventory(key: str, where: tuple[str, str]) -> None:
    assert inventory.variable_of(read(hosts())[0], "lon1", key) == where


_VALUES = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.text(st.characters(codec="utf-8")), _VALUES, max_size=4))
def test_what_is_written_as_toml_is_read_as_it_was(document: dict[str, Any]) -> None:
    assert tomllib.loads(inventory.dumps(document)) == document
