"""`./run flash` on a loop device: what it leaves, also where it is killed, and what it refuses."""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from edgenode.flash import write
from edgenode.flash.disk import look, refusal
from edgenode.flash.errors import FlashError
from edgenode.flash.identity import MAGIC, MOST, load_identity, packed
from edgenode.flash.image import Progress, table_of
from edgenode.flash.table import SECTOR

MIB = 1024 * 1024
IMAGE, DISK = 24 * MIB, 32 * MIB
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEbmhSuzzlz8AOlzcQw8XyjYlY6yz0n2T7Y4Gm2Wqfzd operator"
KILLS = 6
OLD = b"old!" * 1024

pytestmark = [
    pytest.mark.timeout(240),  # on a busy machine
    pytest.mark.skipif(shutil.which("sfdisk") is None, reason="sfdisk is not installed"),
]


def silent(_: str) -> Progress:
    """A step of which nothing is told."""
    return lambda _done, _whole: None


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image's partitions, with some data and a hole in each."""
    path = tmp_path_factory.mktemp("image") / "edgenode-os_1.0.raw"
    layout = "label: gpt\nstart=2048, size=14336, name=esp\nsize=16384, name=root_1.0\nname=var\n"
    with path.open("wb") as file:
        file.truncate(IMAGE)
    subprocess.run(["sfdisk", "-q", path], input=layout.encode(), check=True)
    noise = random.Random(8)
    with path.open("r+b") as file:
        for at in range(1, 18, 7):
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
    with file.open("wb") as new:
        new.truncate(DISK)
    with attached(file) as device:
        fill(device)
        yield device


def fill(disk: Path) -> None:
    """Nothing of what was flashed before is on it: that would count as written."""
    disk.write_bytes(OLD * (DISK // len(OLD)))
    made = ("sfdisk", "-q", "--no-reread", "--no-tell-kernel", "--wipe", "never", disk)
    subprocess.run(made, input=b"label: gpt\nname=old\n", check=True)


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


def partitions(disk: Path) -> dict[str, tuple[int, int]]:
    """Where they begin and how long they are, in bytes; by the table, else by its backup."""
    done = subprocess.run(["sfdisk", "--json", disk], capture_output=True, text=True, check=False)
    if done.returncode:
        assert "does not contain a recognized partition table" in done.stderr
        return {}
    table = json.loads(done.stdout)["partitiontable"]
    assert table["label"] == "gpt"
    return {
        part["name"]: (part["start"] * SECTOR, part["size"] * SECTOR)
        for part in table["partitions"]
    }


def outcome(disk: Path, image: Path) -> str:
    """What the disk is: as it was, without a table, or that node. Anything else fails."""
    found, content = partitions(disk), disk.read_bytes()
    if not found:
        return "boots nothing"
    if list(found) == ["old"]:
        inner = content[MIB:-MIB]
        assert inner == OLD * (len(inner) // len(OLD)), "what boots is as it was"
        return "as before"
    assert list(found) == ["esp", "root_1.0", "var", "identity"]
    assert content[MIB : IMAGE - MIB] == image.read_bytes()[MIB:-MIB], "what boots is whole"
    at, size = found["identity"]
    assert size == MOST
    assert content[at:].startswith(MAGIC)
    assert b"lon1\n" in content[at : at + size]
    return "whole"


def test_a_disk_holds_image_and_identity_and_its_table_is_right(
    image: Path, identity: Path, disk: Path
) -> None:
    done = flash(disk, "--identity", identity, "--image", image, "--yes", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["disk"], told["checksum"]) == (str(disk), False)
    assert "reading back: 100 %" in done.stderr
    assert outcome(disk, image) == "whole"
    said = subprocess.run(["sfdisk", "--verify", disk], capture_output=True, text=True, check=False)
    assert "No errors detected" in said.stdout


def test_whenever_it_is_killed_the_disk_is_whole_or_does_not_boot(
    image: Path, identity: Path, disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At random, some milliseconds after a line of its progress."""
    options = (disk, "--identity", identity, "--image", image, "--yes")
    told = []
    for _ in range(KILLS):
        fill(disk)
        lines, pause = random.randint(1, 14), random.uniform(0, 0.02)
        with subprocess.Popen(command(*options), stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            line = ""
            for _ in range(lines):
                line = process.stderr.readline().strip() or line
            time.sleep(pause)
            process.send_signal(signal.SIGKILL)
        told.append(f"{line} + {pause * 1000:.0f} ms: {outcome(disk, image)}")
    with capsys.disabled():
        print("\n  flash killed after " + "; ".join(told))
    assert flash(*options).returncode == 0, "another try succeeds"
    assert outcome(disk, image) == "whole"


def test_killed_in_each_write_the_disk_is_whole_or_does_not_boot(
    image: Path, identity: Path, disk: Path
) -> None:
    """Before it, and when the first half of it is there."""
    blob, table, found = packed(load_identity(identity)), table_of(image), look(disk)

    def run() -> None:
        write.flash(image, table, blob, found, silent)

    outcomes = []
    for step in range(2, 200):
        fill(disk)
        if not killed_in(step // 2, step % 2 == 1, run):
            break
        outcomes.append(outcome(disk, image))
    # The old tables go first of all, and the new ones come last.
    runs = [(each, len(list(group))) for each, group in itertools.groupby(outcomes)]
    assert [each for each, _ in runs] == ["as before", "boots nothing", "whole"]
    (_, before), (_, nothing), (_, whole) = runs
    assert before <= 4, "two writes wipe"
    assert 0 < whole <= 4, "the backup of the table is there, and two writes are left"
    assert nothing > 12, "those of the data"
    assert outcome(disk, image) == "whole", "another try succeeds"


@pytest.mark.parametrize("lost", [3, 5, -1], ids=["first data", "data", "identity"])
def test_a_disk_that_loses_a_write_is_found_out(
    image: Path, identity: Path, disk: Path, monkeypatch: pytest.MonkeyPatch, lost: int
) -> None:
    """What is read back is another: it gets no table."""
    blob, table, count = packed(load_identity(identity)), table_of(image), itertools.count(1)
    real = os.pwrite

    def pwrite(to: int, content: bytes, at: int) -> int:
        if next(count) == lost or (lost < 0 and content.startswith(MAGIC)):
            return len(content)
        return real(to, content, at)

    monkeypatch.setattr(os, "pwrite", pwrite)
    with pytest.raises(FlashError, match="does not hold what was written"):
        write.flash(image, table, blob, look(disk), silent)
    assert outcome(disk, image) == "boots nothing"


def killed_in(number: int, half: bool, what: Callable[[], None]) -> bool:
    """Whether `what` was killed in its write of that number; `half`: half of that came through."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        assert status in (0, signal.SIGKILL), status
        return status != 0
    try:
        real, count = os.pwrite, itertools.count(1)

        def pwrite(to: int, content: bytes, at: int) -> int:
            if next(count) == number:
                if half:
                    real(to, content[: len(content) // 2 // SECTOR * SECTOR], at)
                os.kill(os.getpid(), signal.SIGKILL)
            return real(to, content, at)

        os.pwrite = pwrite  # type: ignore[assignment]
        what()
        os._exit(0)
    finally:
        os._exit(1)


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
        assert "is too small: it has 25.2 MB, and" in said(on=device)
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


def refused(disk: Path, image: Path, identity: Path) -> str:
    """What is said; nothing was written."""
    before = disk.read_bytes()
    done = flash(disk, "--identity", identity, "--image", image, "--yes")
    assert done.returncode == 1
    assert disk.read_bytes() == before
    return done.stderr.splitlines()[-1]


def test_a_mounted_disk_is_refused(image: Path, identity: Path, disk: Path) -> None:
    subprocess.run(["mke2fs", "-q", "-F", disk], check=True)
    place = identity.parent / "mount ed"
    place.mkdir()
    # Read-only: what is compared would change by itself.
    subprocess.run(["mount", "-o", "ro", disk, place], check=True)
    try:
        said = refused(disk, image, identity)
    finally:
        subprocess.run(["umount", place], check=True)
    assert f"on {place}" in said


def test_a_disk_that_something_is_made_of_is_refused(
    image: Path, identity: Path, disk: Path
) -> None:
    name = f"t-flash-{os.getpid()}"
    made = subprocess.run(
        ["dmsetup", "create", name, "--noudevsync", "--table", f"0 2048 linear {disk} 0"],
        capture_output=True,
        check=False,
    )
    if made.returncode:
        pytest.skip(f"no device mapper: {made.stderr.decode().strip()}")
    try:
        assert "is a part of dm-" in refused(disk, image, identity)
    finally:
        subprocess.run(["dmsetup", "remove", "--noudevsync", name], check=True)


def test_a_disk_that_something_claims_is_refused(image: Path, identity: Path, disk: Path) -> None:
    """As a mount in another namespace does, of which nothing else tells."""
    held = os.open(disk, os.O_RDWR | os.O_EXCL | os.O_CLOEXEC)
    try:
        said = refused(disk, image, identity)
    finally:
        os.close(held)
    assert said.endswith(f"{disk}: something has it in use: nothing was written")


def test_a_read_only_disk_is_refused(image: Path, identity: Path, disk: Path) -> None:
    subprocess.run(["blockdev", "--setro", disk], check=True)
    try:
        assert f"{disk} is read-only" in refused(disk, image, identity)
    finally:
        subprocess.run(["blockdev", "--setrw", disk], check=True)


def test_the_disk_that_this_system_runs_from_is_known() -> None:
    """By looking alone: no command is run on it."""
    done = subprocess.run(
        ["findmnt", "-nvo", "SOURCE", "/"], capture_output=True, text=True, check=True
    )
    root = Path(done.stdout.strip())
    if not root.is_block_device():
        pytest.skip("the root is on no block device")
    said = refusal(look(root), 0)
    assert said is not None
    assert "this system runs from" in said or "is a partition" in said


def test_another_disk_under_the_same_name_is_not_written_to(
    image: Path, identity: Path, disk: Path
) -> None:
    """As where one was pulled, and another plugged in, while the operator was asked."""
    before = disk.read_bytes()
    shown = replace(look(disk), serial="another")
    blob, table = packed(load_identity(identity)), table_of(image)
    with pytest.raises(FlashError, match="is not what it was a moment ago: nothing was written"):
        write.flash(image, table, blob, shown, silent)
    assert disk.read_bytes() == before
