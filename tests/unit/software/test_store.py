"""Where releases lie, and which changes they ask for."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenode.software.errors import SoftwareError
from edgenode.software.parts import USUAL, Part, Standing, changes, unused
from edgenode.software.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """As an image has it: one release, which all start with."""
    (tmp_path / "edgenode_1.0.raw").write_bytes(b"one")
    for part in Part:
        (tmp_path / part.value).mkdir()
        (tmp_path / part.value / "edgenode.raw").symlink_to("../edgenode_1.0.raw")
    return Store(tmp_path)


def test_a_link_changes_and_remembers_what_was_before(store: Store) -> None:
    assert (store.kept(Part.CONTROL), store.before(Part.CONTROL)) == ("1.0", None)
    store.keep(Part.CONTROL, "2.0")
    store.keep(Part.CONTROL, "2.0")
    assert (store.kept(Part.CONTROL), store.before(Part.CONTROL)) == ("2.0", "1.0")
    assert store.kept(Part.STEERING) == "1.0"
    link = store.place / "control/edgenode.raw"
    assert link.readlink() == Path("../edgenode_2.0.raw")


def test_one_version_is_one_content(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "brought"
    source.write_bytes(b"two")
    store.add(store.take(source), "2.0")
    store.add(store.take(source), "2.0")
    assert store.versions() == ["1.0", "2.0"]
    source.write_bytes(b"other")
    with pytest.raises(SoftwareError, match=r"another edgenode 2\.0 is there already"):
        store.add(store.take(source), "2.0")
    with pytest.raises(SoftwareError, match=r"is none, as 1\.2\.3"):
        store.add(store.take(source), "../x")
    assert store.file("2.0").read_bytes() == b"two"


def test_what_failed_is_remembered_until_it_gets_another_chance(store: Store) -> None:
    store.mark("2.0", "control: crashed")
    assert store.failed() == {"2.0": "control: crashed"}
    store.mark("2.0", None)
    assert store.failed() == {}
    (store.place / "failed.json").write_text("[1")
    assert store.failed() == {}


def test_two_at_once_are_refused(store: Store) -> None:
    with (
        store.locked(),
        pytest.raises(SoftwareError, match="another `edgenode software` is at work"),
        store.locked(),
    ):
        pass


def test_elsewhere_the_playbook_is_named(tmp_path: Path) -> None:
    with pytest.raises(SoftwareError, match="the playbook installs edgenode"):
        Store(tmp_path)


def test_parts_change_in_their_order_and_those_that_have_it_do_not() -> None:
    standings = [Standing(part, "1.0", running="1.0") for part in Part]
    assert changes(standings, "2.0", USUAL) == [
        Part.EXEC,
        Part.CONTROL,
        Part.STEERING,
        Part.TOOLS,
    ]
    standings[1] = Standing(Part.CONTROL, "2.0", running="2.0")
    assert Part.CONTROL not in changes(standings, "2.0", USUAL)
    standings[1] = Standing(Part.CONTROL, "2.0", running="3.0", trial="3.0")
    assert Part.CONTROL in changes(standings, "2.0", USUAL)


VERSIONS = st.none() | st.sampled_from(["1.0", "2.0", "3.0", "4.0"])


@given(st.lists(st.builds(Standing, st.sampled_from(Part), VERSIONS, VERSIONS, VERSIONS, VERSIONS)))
def test_nothing_that_is_of_use_to_anybody_is_removed(standings: list[Standing]) -> None:
    gone = unused(standings, ["1.0", "2.0", "3.0", "4.0"])
    for each in standings:
        assert not {each.kept, each.before, each.running, each.trial} & set(gone)
