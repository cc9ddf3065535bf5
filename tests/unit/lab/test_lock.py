"""One owner a lab."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgenode.lab.errors import LabError
from edgenode.lab.lock import Lock, holder


def test_two_owners_are_refused_with_the_first_named(tmp_path: Path) -> None:
    root = tmp_path / "labs"
    first, second = Lock("x", root), Lock("x", root)
    first.acquire()
    with pytest.raises(LabError, match=f"in use by process {os.getpid()}"):
        second.acquire()
    Lock("y", root).acquire()
    assert holder("x", root) == os.getpid()
    first.release()
    assert holder("x", root) is None
    second.acquire()
    second.release()
    second.release()
    assert not second.path.exists()


def test_a_guard_at_work_is_waited_for(tmp_path: Path) -> None:
    first, second = Lock("x", tmp_path), Lock("x", tmp_path)
    first.acquire()
    first.path.write_text("999999999")  # an owner that is no more
    with pytest.raises(LabError, match="still being cleaned up"):
        second.acquire(patience=0.1)
    first.release()
    second.acquire(patience=0.1)
    second.release()
