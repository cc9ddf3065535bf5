"""Rules on trial on a node with systemd: confirmed, undone, undone by themselves."""

from __future__ import annotations

import json
import re

import pytest

from tests.system.conftest import CONFIG, RULES, Node


def loaded(node: Node) -> str:
    return node.machine.run("nft list table inet edgenode")


def firewall_status(node: Node) -> dict[str, bool]:
    status: dict[str, bool] = json.loads(node.machine.run("edgenode firewall status --json"))
    return status


def test_a_lock_out_undoes_itself(node: Node) -> None:
    machine = node.machine
    machine.write("/etc/edgenode/edgenode.toml", CONFIG + RULES)
    assert "management4" not in loaded(node), "the baseline"
    machine.run("edgenode firewall apply --undo-after 5s")
    assert "management4" in loaded(node)
    assert firewall_status(node)["on_trial"]
    refused = machine.run("edgenode firewall apply", check=False)
    assert "on trial" in refused
    machine.until(lambda: "management4" not in loaded(node), "the undo", 15.0)
    assert not firewall_status(node)["confirmed"]
    late = machine.run("edgenode firewall confirm", check=False)
    assert "the time of the trial is over" in late
    assert not firewall_status(node)["confirmed"], "a boot must not load what locked out"


def test_confirmed_rules_stay(node: Node) -> None:
    machine = node.machine
    machine.run("edgenode firewall apply --undo-after 5 && edgenode firewall confirm")
    machine.run("sleep 6")
    assert "management4" in loaded(node)
    assert "place already" in machine.run("edgenode firewall apply")
    assert firewall_status(node) == {
        "confirmed": True,
        "current": True,
        "loaded": True,
        "on_trial": False,
    }
    # as a boot does
    machine.run("nft delete table inet edgenode; systemctl restart edgenode-firewall")
    assert "management4" in loaded(node)


def test_a_trial_is_undone_by_hand(node: Node) -> None:
    machine = node.machine
    machine.write("/etc/edgenode/edgenode.toml", CONFIG + RULES + "log_drops = false\n")
    machine.run("edgenode firewall apply")
    assert "edgenode drop" not in loaded(node)
    machine.run("edgenode firewall undo")
    assert "edgenode drop" in loaded(node)
    assert not firewall_status(node)["on_trial"]


def test_who_would_lock_himself_out_is_told(node: Node) -> None:
    said = node.machine.run(
        "SSH_CONNECTION='203.0.113.9 40000 198.51.100.2 22' edgenode firewall apply", check=False
    )
    assert "203.0.113.9" in said
    assert "add it" in said


def test_killed_in_a_trial(node: Node) -> None:
    """The undo needs nothing of the process that armed it."""
    machine = node.machine
    before = loaded(node)
    machine.write("/etc/edgenode/edgenode.toml", CONFIG + RULES.replace("100.0/30", "100.0/29"))
    machine.run(
        "edgenode firewall apply --undo-after 5s & "
        "until systemctl is-active -q edgenode-firewall-undo.timer; do :; done; kill -9 $!; wait",
        check=False,
    )
    machine.until(
        lambda: (
            not machine.run("systemctl is-active edgenode-firewall-undo.timer", check=False)
            .strip()
            .startswith("active")
        ),
        "the undo",
        15.0,
    )
    machine.until(lambda: without_counts(loaded(node)) == without_counts(before), "the old rules")


def without_counts(text: str) -> str:
    return re.sub(r"packets \d+ bytes \d+", "", text)


def test_an_undo_is_never_refused_for_coming_often(node: Node) -> None:
    machine = node.machine
    for _ in range(8):
        machine.run("systemctl restart edgenode-firewall")


@pytest.mark.parametrize("text", ["nonsense", ""])
def test_confirmed_rules_that_are_none(node: Node, text: str) -> None:
    """The baseline then, loudly; never an open node."""
    machine = node.machine
    machine.run(f"printf '{text}' > /var/lib/edgenode/firewall/confirmed.nft")
    machine.run("nft delete table inet edgenode; systemctl restart edgenode-firewall", check=False)
    assert machine.property("edgenode-firewall.service", "Result") == "exit-code"
    assert "dport 22 accept" in loaded(node)
    assert "the baseline is in place" in machine.run("journalctl -u edgenode-firewall -p err")
    assert not firewall_status(node)["loaded"]
