"""What is on the disk is the newest table, whoever saves."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from edgenode.steering import tablefile
from edgenode.steering.table import Bind, Table
from edgenode.steering.tablesaver import SETTLE, TableSaver
from tests.unit.steering.running import PATIENCE, eventually


def table(revision: int) -> Table:
    return Table(revision, "lon1", Bind(), ())


def saved(path: Path) -> int:
    found = tablefile.load(path)
    return 0 if found is None else found.revision


def test_the_newest_is_saved_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "made" / "table.json"
    saver = TableSaver(path)
    for revision in (1, 2, 3):
        saver.save(table(revision))
    saver.close(PATIENCE)
    assert saved(path) == 3


def test_who_has_been_replaced_saves_nothing_any_more(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    old, new = TableSaver(path), TableSaver(path)
    old.save(table(1))
    old.forget()
    new.save(table(2))
    old.close(PATIENCE)
    new.close(PATIENCE)
    assert saved(path) == 2


def test_a_save_that_another_has_begun_is_waited_for(tmp_path: Path) -> None:
    """It may end with an older table."""
    path = tmp_path / "table.json"
    other = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    saver = TableSaver(path)
    saver.save(table(2))
    time.sleep(2 * SETTLE)
    assert saved(path) == 0
    tablefile.save(path, table(1))
    os.close(other)
    eventually(lambda: saved(path) == 2)
    saver.close(PATIENCE)
