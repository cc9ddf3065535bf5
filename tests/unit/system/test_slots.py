from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from edgenode.system.entries import Entry
from edgenode.system.errors import UpdateError
from edgenode.system.gpt import ROOT, ROOT_VERITY, Partition
from edgenode.system.manifest import Release, releases, sums
from edgenode.system.slots import chosen, installed, other, slots

A, B = UUID(int=1), UUID(int=2)


def disk(*labels: tuple[str, str]) -> list[Partition]:
    found = [Partition(uuid4(), uuid4(), "esp", 0, 1)]
    for root, verity in labels:
        found.append(Partition(ROOT, A, root, 0, 1))
        found.append(Partition(ROOT_VERITY, B, verity, 0, 1))
    return found


def release(version: str) -> Release:
    return Release(version, "0" * 64, A, B)


OFFERED = {version: release(version) for version in ("1.0", "1.2", "1.10")}
GOOD = {"1.0": Entry("1.0")}


def test_a_slot_has_a_version_when_both_of_its_partitions_do() -> None:
    found = slots(disk(("root_1.0", "root_1.0"), ("root_1.1", "_empty")), GOOD, "1.0")
    assert [(slot.version, slot.state, slot.running) for slot in found] == [
        ("1.0", "good", True),
        (None, "empty", False),
    ]
    found = slots(disk(("root_1.0", "root_1.0"), ("root_1.1", "root_1.1")), GOOD, "1.0")
    assert found[1].state == "incomplete", "nothing starts it"


def test_a_release_is_installed_when_its_very_partitions_are() -> None:
    partitions = disk(("root_1.0", "root_1.0"))
    assert installed(release("1.0"), partitions)
    assert not installed(release("1.1"), partitions)
    assert not installed(Release("1.0", "", B, A), partitions)


def test_the_newest_is_chosen_and_nothing_where_it_runs() -> None:
    assert chosen(OFFERED, None, "1.0", GOOD) == OFFERED["1.10"]
    assert chosen(OFFERED, "1.2", "1.0", GOOD) == OFFERED["1.2"]
    assert chosen(OFFERED, None, "1.10", {}) is None
    assert chosen(OFFERED, None, "2.0", {}) is None
    assert chosen(OFFERED, "1.0", "1.0", GOOD) is None


@pytest.mark.parametrize(
    ("wanted", "running", "entries", "said"),
    [
        ("1.3", "1.0", GOOD, "no version 1.3; it has: 1.0, 1.2, 1.10"),
        ("1.0", "1.2", {}, "1.0 is older than 1.2, which runs: `edgenode system rollback`"),
        (None, "1.0", {"1.0": Entry("1.0", 1, 1)}, "1.0, which runs, is on trial"),
        (None, "1.0", {"1.0": Entry("1.0", 0, 2)}, "1.0, which runs, is failed"),
        (None, "1.0", {"1.10": Entry("1.10", 0, 2)}, "1.10 failed on this node.*a higher one"),
        ("1.2", "1.0", {"1.2": Entry("1.2", 0, 1)}, "1.2 failed on this node"),
    ],
)
def test_what_is_refused(
    wanted: str | None, running: str, entries: dict[str, Entry], said: str
) -> None:
    with pytest.raises(UpdateError, match=said):
        chosen(OFFERED, wanted, running, entries)


def test_nothing_on_offer() -> None:
    with pytest.raises(UpdateError, match="offers no version"):
        chosen({}, None, "1.0", GOOD)


TWO = disk(("root_1.0", "root_1.0"), ("root_1.1", "root_1.1"))


def test_back_to_the_other_slot() -> None:
    assert other(slots(TWO, {"1.0": Entry("1.0"), "1.1": Entry("1.1")}, "1.1")) == "1.0"


@pytest.mark.parametrize(
    ("old", "new", "running", "said"),
    [
        (Entry("1.0"), Entry("1.1", 0, 2), "1.0", "1.1, in the other slot, failed on this node"),
        (Entry("1.0"), Entry("1.1", 2, 0), "1.0", "1.1, in the other slot, was not found good"),
        (Entry("1.0"), Entry("1.1", 1, 1), "1.1", "1.1, which runs, is on trial"),
        (None, Entry("1.1"), "1.1", "1.0 is in the other slot without a boot entry"),
    ],
)
def test_where_there_is_no_way_back(old: Entry | None, new: Entry, running: str, said: str) -> None:
    entries = {"1.1": new} | ({"1.0": old} if old else {})
    with pytest.raises(UpdateError, match=said):
        other(slots(TWO, entries, running))


def test_an_empty_slot_is_no_way_back() -> None:
    with pytest.raises(UpdateError, match="the other slot is empty"):
        other(slots(disk(("root_1.0", "root_1.0"), ("_empty", "_empty")), GOOD, "1.0"))


LIST = f"""\
{"a" * 64}  edgenode_1.1.efi
{"b" * 64}  edgenode_1.1.root-x86-64.{A}.raw.gz
{"c" * 64}  edgenode_1.1.root-x86-64-verity.{B}.raw.gz
{"d" * 64}  edgenode_1.2.efi
{"e" * 64} *README
"""


def test_a_list_offers_the_versions_that_are_whole() -> None:
    assert releases(LIST) == {"1.1": Release("1.1", "a" * 64, A, B)}
    assert sums(LIST)["README"] == "e" * 64
    with pytest.raises(ValueError, match="line 1 of SHA256SUMS"):
        releases("hello\n")
