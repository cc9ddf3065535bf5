"""Nodes that claim to be the same are named; and a node that is stale says so."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest

from edgenode.registry.revision import Revision
from edgenode.siblings.conflicts import conflicts
from edgenode.siblings.message import Served
from edgenode.siblings.staleness import BEHIND, DIFFERS, Staleness
from edgenode.siblings.views import Views
from tests.unit.siblings.told import OWN, message

ALLOWED = {
    "nyc1": [ip_network("198.51.100.194/32")],
    "sin1": [ip_network("198.51.100.195/32")],
}


def found(nyc1: dict[str, Any], sin1: dict[str, Any] | None = None) -> tuple[str, ...]:
    views = Views(["nyc1", "sin1"], ["web"], 4.0)
    views.hear("nyc1", message(**nyc1), 1.0)
    if sin1 is not None:
        told = {"node": "sin1", "boot": "2" * 16, "mesh": ["198.51.100.195"], "key": ""}
        views.hear("sin1", message(**told | sin1), 1.0)
    return conflicts(OWN, views.fresh(1.0), ALLOWED, 1.0)


def test_nodes_that_are_each_their_own_are_no_conflict() -> None:
    assert found({}, {}) == ()


@pytest.mark.parametrize(
    ("nyc1", "sin1", "words"),
    [
        ({"mesh": ["198.51.100.193"]}, None, "198.51.100.193 is this node's, and edge nyc1"),
        ({"node": "lon1"}, None, "edge nyc1 calls itself lon1, as this node does"),
        ({"key": OWN.key}, None, "nyc1 has this node's key"),
        ({"mesh": ["198.51.100.7"]}, None, "nyc1 says that its mesh address is 198.51.100.7"),
        ({}, {"mesh": ["198.51.100.195", "198.51.100.194"]}, "claimed by edge nyc1 (nyc1, key BBB"),
        ({}, {"node": "nyc1"}, "edges nyc1 and sin1 both call themselves nyc1"),
        ({}, {"key": "B" * 43 + "="}, "edges nyc1 and sin1 have the same key"),
    ],
)
def test_a_conflict_is_named(nyc1: dict[str, Any], sin1: dict[str, Any] | None, words: str) -> None:
    assert words in " / ".join(found(nyc1, sin1))


def test_two_processes_behind_one_address_are_named() -> None:
    views = Views(["nyc1"], ["web"], 4.0)
    for number in range(1, 12):
        views.hear("nyc1", message(number, boot=f"{number % 2:016x}"), float(number))
    (text,) = conflicts(OWN, views.fresh(11.0), ALLOWED, 11.0)
    assert "two nodes take turns at being edge nyc1" in text


def etcd(number: int | None, digest: str = "aa") -> Revision:
    return Revision("etcd", number, digest, 0.0)


def served(number: int | None, digest: str, kind: Any = "etcd") -> Served:
    return Served(kind=kind, number=number, digest=digest)


def test_a_node_that_stays_behind_the_others_says_so() -> None:
    look = Staleness().look
    ahead = {"nyc1": served(9, "bb"), "sin1": served(5, "aa")}
    assert look(etcd(5), ahead, 0.0) == ""
    assert look(etcd(5), ahead, BEHIND - 0.1) == ""
    assert "older state of the registry than nyc1" in look(etcd(5), ahead, BEHIND)
    assert look(etcd(9, "bb"), ahead, BEHIND + 1) == ""


def test_a_node_that_follows_is_never_stale_however_fast_the_registry_moves() -> None:
    look = Staleness().look
    for second in range(200):
        mine, theirs = etcd(10 * second, f"{second:x}"), served(10 * second + 5, f"{second + 1:x}")
        assert look(mine, {"nyc1": theirs}, float(second)) == ""


def test_the_same_workers_are_no_difference_whatever_the_number() -> None:
    look = Staleness().look
    for second in (0.0, 100.0):
        assert look(etcd(5), {"nyc1": served(9, "aa")}, second) == ""


def test_a_configuration_unlike_most_others_is_told() -> None:
    mine = Revision("config", None, "aa", 0.0)
    most = {name: served(None, "bb", "config") for name in ("nyc1", "sin1")}
    look = Staleness().look
    assert look(mine, most, 0.0) == ""
    assert "other workers than that of nyc1 and sin1" in look(mine, most, DIFFERS)
    few = {**most, "sin1": served(None, "aa", "config")}
    assert look(mine, few, DIFFERS) == ""
