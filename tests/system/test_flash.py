"""`./run flash` on a loop device: what it leaves, also where it is killed, and what it refuses."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgenode.flash.identity import MAGIC, MOST
from edgenode.flash.table import SECTOR, TableError, parse

MIB = 1024 * 1024
IMAGE, DISK = 48 * MIB, 64 * MIB
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEbmhSuzzlz8AOlzcQw8XyjYlY6yz0n2T7Y4Gm2Wqfzd operator"
KILLS = 6

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(shutil.which("sfdisk") is None, reason="sfdisk is not installed"),
]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image's partitions, with some data and a hole in each."""
    path = tmp_path_factory.mktemp("image") / "edgenode-os_1.0.raw"
    layout = "label: gpt\nstart=2048, size=20480, name=esp\nsize=40960, name=root_1.0\nname=var\n"
    with path.open("wb") as file:
        file.truncate(IMAGE)
    subprocess.run(["sfdisk", "-q", path], input=layout.encode(), check=True)
    noise = random.Random(8)
    with path.open("r+b") as file:
        for at in range(1, 42, 9):
            file.seek(at * MIB + 12345)
            file.write(noise.randbytes(5 * MIB))
    return path


@pytest.fixture
def identity(tmp_path: Path) -> Path:
    path = tmp_path / "lon1.toml"
    path.write_text(f'hostname = "lon1"\nauthorized_keys = ["{KEY}"]\n')
    return path


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Full of what was there before, with a partition table."""
    file = tmp_path / "disk"
    file.write_bytes(b"old!" * (DISK // 4))
    subprocess.run(["sfdisk", "-q", file], input=b"label: gpt\nname=old\n", check=True)
    with attached(file) as device:
        yield device


@contextmanager
def attached(file: Path) -> Iterator[Path]:
    """As a loop device."""
    done = subprocess.run(
        ["losetup", "--find", "--show", file], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"no loop device: {done.stderr.strip()}")
    device = Path(done.stdout.strip())
    try:
        yield device
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "edgenode.flash", *map(str, arguments)]


def flash(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )


def is_whole(disk: Path, image: Path) -> bool:
    """Whether the disk is that node; it has no partition table otherwise, so that nothing boots."""
    with disk.open("rb") as file:
        start = file.read(34 * SECTOR)
        try:
            table = parse(start)
        except TableError:
            file.seek(-SECTOR, os.SEEK_END)
            backup = file.read(8) == b"EFI PART"
            if not backup:
                return False
            table = None
        wanted = image.read_bytes()[MIB : IMAGE - MIB]
        file.seek(MIB)
        assert file.read(len(wanted)) == wanted, "what can boot is whole"
        if table is None:
            return False
        first, last = table.labels["identity"]
        assert (last + 1 - first) * SECTOR == MOST
        file.seek(first * SECTOR)
        assert file.read(len(MAGIC)) == MAGIC
    return True


def test_a_disk_holds_image_and_identity_and_its_table_is_right(
    image: Path, identity: Path, disk: Path
) -> None:
    done = flash(disk, "--identity", identity, "--image", image, "--yes", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["disk"], told["checksum"]) == (str(disk), False)
    assert "reading back: 100 %" in done.stderr
    assert is_whole(disk, image)
    said = subprocess.run(["sfdisk", "--verify", disk], capture_output=True, text=True, check=False)
    assert "No errors detected" in said.stdout
    labels = subprocess.run(["sfdisk", "-J", disk], capture_output=True, text=True, check=True)
    parts = json.loads(labels.stdout)["partitiontable"]["partitions"]
    assert [part["name"] for part in parts] == ["esp", "root_1.0", "var", "identity"]


def test_whenever_it_is_killed_the_disk_is_whole_or_does_not_boot(
    image: Path, identity: Path, disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = (disk, "--identity", identity, "--image", image, "--yes")
    began = time.monotonic()
    assert flash(*options).returncode == 0
    usual = time.monotonic() - began
    moments = sorted(random.uniform(0.6, 1.02) * usual for _ in range(KILLS))
    outcomes = []
    for moment in moments:
        with subprocess.Popen(command(*options), stderr=subprocess.DEVNULL) as process:
            time.sleep(moment)
            process.send_signal(signal.SIGKILL)
        outcomes.append("whole" if is_whole(disk, image) else "boots nothing")
    with capsys.disabled():
        told = ", ".join(f"{m:.2f} s: {o}" for m, o in zip(moments, outcomes, strict=True))
        print(f"\n  flash killed after {told}")
    assert flash(*options).returncode == 0, "another try succeeds"
    assert is_whole(disk, image)


def test_what_is_wrong_is_refused_before_anything_is_written(
    image: Path, identity: Path, disk: Path, tmp_path: Path
) -> None:
    before = disk.read_bytes()

    def said(*arguments: object, on: Path = disk, of: Path = image) -> str:
        done = flash(on, "--identity", identity, "--image", of, *(arguments or ("--yes",)))
        assert done.returncode == 1
        return done.stderr.splitlines()[-1]

    done = flash(disk, "--identity", identity, "--image", image)
    assert done.returncode == 1
    assert "there is no terminal to ask at: use --yes" in done.stderr
    small = tmp_path / "small"
    with small.open("wb") as file:
        file.truncate(IMAGE)
    with attached(small) as device:
        assert "is too small: it has 50.3 MB, and" in said(on=device)
    assert "is no disk" in said(on=small)
    cut, other, qcow = (tmp_path / name for name in ("cut", "other", "qcow2"))
    cut.write_bytes(image.read_bytes()[: IMAGE // 2])
    other.write_bytes(bytes(MIB))
    qcow.write_bytes(b"QFI\xfb")
    assert "is cut off" in said(of=cut)
    assert "is no image of edgenode" in said(of=other)
    assert "flash the .raw beside it" in said(of=qcow)
    copy = tmp_path / image.name
    shutil.copy(image, copy)
    (tmp_path / "SHA256SUMS").write_text(f"{'0' * 64}  {image.name}\n")
    assert "is not what SHA256SUMS beside it says" in said(of=copy)
    identity.write_text("hostname = 1\n")
    assert f"{identity}:1: hostname: " in said()
    assert disk.read_bytes() == before


def test_a_disk_that_is_in_use_is_refused(image: Path, identity: Path, disk: Path) -> None:
    subprocess.run(["mke2fs", "-q", "-F", disk], check=True)
    place = identity.parent / "mounted"
    place.mkdir()
    subprocess.run(["mount", disk, place], check=True)
    try:
        done = flash(disk, "--identity", identity, "--image", image, "--yes")
    finally:
        subprocess.run(["umount", place], check=True)
    assert done.returncode == 1
    assert f"on {place}" in done.stderr
