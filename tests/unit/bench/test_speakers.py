"""What is compared: each has a node and prefixes of its own, and a configuration that parses."""

from __future__ import annotations

import tomllib
from itertools import combinations
from pathlib import Path

import pytest

from edgenode.config import load
from edgenode.lab.topology import Edge
from tests.bench import scale
from tests.bench.speakers import _EDGENODE, _ONE_GROUP, CASES, group
from tests.bench.withdraw import chosen, topology


def test_names_are_apart_and_each_speaker_has_a_node() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
    starts: dict[str, object] = {}
    for case in CASES:
        assert starts.setdefault(case.node, case.start) is case.start


def test_every_node_is_in_the_plan_with_prefixes_of_its_own() -> None:
    plan = topology(CASES)
    for case in CASES:
        node = plan.node(case.node)
        assert isinstance(node, Edge)
        assert node.transit == "lon"
    for one, other in combinations(plan.groups, 2):
        assert not one.prefixes[0].overlaps(other.prefixes[0])
        assert not one.prefixes[1].overlaps(other.prefixes[1])


def test_cases_are_chosen_by_the_beginning_of_their_names() -> None:
    assert chosen(None, quick=False) == list(CASES)
    assert not [case for case in chosen(None, quick=True) if "defaults" in case.name]
    assert [case.name for case in chosen(["exabgp", "floor"], quick=True)] == [
        "floor",
        "exabgp 1s",
        "exabgp 0.1s",
    ]
    assert chosen(["nobody"], quick=False) == []


def head(directory: Path) -> str:
    return _EDGENODE.format(
        name="n",
        directory=directory,
        asn=64700,
        router_id="198.51.100.1",
        there="198.51.100.4",
        own="198.51.100.5",
        upstream=64601,
    )


def test_edgenode_takes_its_configuration(tmp_path: Path) -> None:
    path = tmp_path / "edgenode.toml"
    one = group(1)
    text = _ONE_GROUP.format(prefix=one.prefixes[0], service=one.addresses[0])
    path.write_text(head(tmp_path) + text)
    (check,) = load(path).checks
    assert (check.interval, check.rise, check.fall) == (1.0, 1, 1)


@pytest.mark.parametrize(("groups", "checks"), [(1000, 500), (5, 5), (7, 2)])
def test_at_scale_only_the_first_group_hangs_on_the_first_check(
    tmp_path: Path, groups: int, checks: int
) -> None:
    text = head(tmp_path) + "".join(scale.configuration(range(groups), checks, 1.0))
    document = tomllib.loads(text)
    assert len(document["groups"]) == groups
    assert len(document["checks"]) == checks
    assert [g["name"] for g in document["groups"] if "c0" in g["checks"]] == ["g0"]
    used = {check for each in document["groups"] for check in each["checks"]}
    assert used == {check["name"] for check in document["checks"]}
    assert len({check["target"] for check in document["checks"]}) == checks
    prefixes = [each["prefixes"][0] for each in document["groups"]]
    assert len(set(prefixes)) == groups


def test_the_largest_scale_stays_in_the_benchmarks_range(tmp_path: Path) -> None:
    path = tmp_path / "edgenode.toml"
    path.write_text(head(tmp_path) + "".join(scale.configuration(range(40), 20, 0.5)))
    assert load(path).groups[39].prefixes == (scale.prefix(39),)
    assert str(scale.prefix(4000)) == "198.18.250.0/28"
