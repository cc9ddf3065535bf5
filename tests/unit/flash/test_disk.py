"""Which disks are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgenode.flash.disk import Disk, Mount, human, look, mount_of, parse_mounts, refusal
from edgenode.flash.errors import FlashError

GOOD = Disk(Path("/dev/sdb"), 64 * 10**9, model="Fast", serial="1")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"partition": True}, "name the whole disk"),
        ({"system": True}, "the disk that this system runs from"),
        ({"mounted": ("sdb1 on /mnt",)}, "is in use (sdb1 on /mnt)"),
        ({"holders": ("dm-0",)}, "is a part of dm-0"),
        ({"read_only": True}, "is read-only"),
        ({"sector": 4096}, "sectors of 4096 bytes"),
        ({"size": 4 * 10**9}, "too small: it has 4.0 GB, and 5.0 GB are needed"),
    ],
)
def test_a_disk_is_refused_for_a_reason(change: dict[str, object], said: str) -> None:
    assert refusal(GOOD, 5 * 10**9) is None
    found = refusal(replace(GOOD, **change), 5 * 10**9)  # type: ignore[arg-type]
    assert found is not None
    assert said in found


def test_what_is_no_disk_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FlashError, match="is no disk"):
        look(tmp_path / "file")
    with pytest.raises(FlashError, match="No such file"):
        look(tmp_path / "none")


def test_sizes_are_those_on_the_box() -> None:
    assert [human(n) for n in (64 * 10**9, 2 * 10**12, 5 * 10**6, 12)] == [
        "64.0 GB",
        "2.0 TB",
        "5.0 MB",
        "12 bytes",
    ]


MOUNTS = r"""29 1 0:26 /@ / rw,relatime shared:1 - btrfs /dev/sda2 rw,subvol=/@
35 29 8:17 / /mnt/my\040stick rw - ext4 /dev/sdb1 rw
36 29 8:33 / /mnt rw shared:3 master:2 - ext4 /dev/sdc1 rw
37 29 8:49 / /mnt rw - ext4 /dev/sdd1 rw
"""


def test_what_is_mounted_is_known_by_number_and_source() -> None:
    """A btrfs has a number that is no device's."""
    root, stick, *_ = parse_mounts(MOUNTS)
    assert root == Mount("0:26", "/", "/dev/sda2")
    assert stick == Mount("8:17", "/mnt/my stick", "/dev/sdb1")


@pytest.mark.parametrize(
    ("place", "source"),
    [
        ("/", "/dev/sda2"),
        ("/boot", "/dev/sda2"),
        ("/mnt/my stick", "/dev/sdb1"),
        ("/mnt/my", "/dev/sdd1"),
        ("/mntx", "/dev/sda2"),
    ],
)
def test_a_path_lies_on_the_last_mount_above_it(place: str, source: str) -> None:
    found = mount_of(place, parse_mounts(MOUNTS))
    assert found is not None
    assert found.source == source


def test_without_mounts_there_is_none() -> None:
    assert mount_of("/", parse_mounts("")) is None
