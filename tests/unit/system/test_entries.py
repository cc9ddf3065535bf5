from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgenode.system.entries import Entry, entries, parse

versions = st.sampled_from(["0.1.0", "1", "1.2~rc1", "2026.12-3", "10.0.1.a"])
tries = st.integers(0, 99)


@given(versions, st.none() | tries, tries)
def test_a_name_says_what_the_entry_is(version: str, left: int | None, done: int) -> None:
    entry = Entry(version, left, 0 if left is None else done)
    assert parse(entry.name) == entry


def test_the_boot_loaders_own_spellings_are_read() -> None:
    assert parse("edgenode_1.2.3.efi") == Entry("1.2.3")
    assert parse("edgenode_1.2.3+2.efi") == Entry("1.2.3", 2)
    assert parse("edgenode_1.2~rc1+0-3.efi") == Entry("1.2~rc1", 0, 3)
    for foreign in ("debian_1.efi", "edgenode_1.raw", "edgenode_.efi", ".#edgenode_1.efi1", "x"):
        assert parse(foreign) is None


@given(st.text(max_size=40))
def test_no_name_is_too_strange(name: str) -> None:
    found = parse(name)
    assert found is None or found.version in name


def test_states() -> None:
    assert [parse(f"edgenode_1{tail}.efi").state for tail in ("", "+2-0", "+0-2")] == [  # type: ignore[union-attr]
        "good",
        "on trial",
        "failed",
    ]


def test_of_two_names_of_a_version_the_more_cautious_counts() -> None:
    found = entries(["edgenode_1+2-0.efi", "edgenode_1+1-1.efi", "edgenode_2.efi", "other.efi"])
    assert found == {"1": Entry("1", 1, 1), "2": Entry("2")}
    assert entries(["edgenode_1.efi", "edgenode_1+0-1.efi"])["1"].failed
