from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgenode.bgp import files
from edgenode.bgp.files import FileError, keep, remove, write_atomically


def test_the_whole_file_with_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "a.conf"
    path.write_text("old")
    write_atomically(path, "new\n", mode=0o640, group="no-such-group")
    assert path.read_text() == "new\n"
    assert path.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [path]


def test_no_directory(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="cannot be written"):
        write_atomically(tmp_path / "none" / "a.conf", "", mode=0o644)


def test_what_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.conf"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "\ud800", mode=0o644)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_right_is_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "a.conf"
    keep(path, "text", mode=0o640)
    first = path.stat().st_ino
    keep(path, "text", mode=0o640)
    assert path.stat().st_ino == first
    path.write_text("edited")
    keep(path, "text", mode=0o640)
    assert path.read_text() == "text"
    path.chmod(0o666)
    keep(path, "text", mode=0o640)
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_group_that_has_another_number_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """BIRD's, in another image or after a reinstallation: it could not read its secrets."""
    path = tmp_path / "a.conf"
    numbers = {"before": os.getgid(), "after": os.getgid() + 1}
    given: list[int] = []
    monkeypatch.setattr(files, "_gid", lambda group: numbers[group])
    monkeypatch.setattr("os.fchown", lambda file, owner, group: given.append(group))
    keep(path, "text", mode=0o640, group="before")
    keep(path, "text", mode=0o640, group="before")
    assert given == []
    keep(path, "text", mode=0o640, group="after")
    assert given == [numbers["after"]]


def test_only_what_begins_so_is_removed(tmp_path: Path) -> None:
    ours, foreign = tmp_path / "a", tmp_path / "b"
    ours.write_text("# Ours: x")
    foreign.write_text("# Somebody's")
    for path in (ours, foreign, tmp_path / "absent"):
        remove(path, "# Ours")
    assert list(tmp_path.iterdir()) == [foreign]
