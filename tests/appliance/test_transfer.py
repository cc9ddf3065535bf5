"""What the real systemd-sysupdate makes of a disk: small slots in a file, in a build's tools."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system.tree import PROJECT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

TOOLS = PROJECT / ".cache/image/tools"
ROOT = "edgenode_1.1.root-x86-64.1aca88da-d728-54cc-4ecb-f163ef8cb728.raw.gz"
VERITY = "edgenode_1.1.root-x86-64-verity.5e112116-16c8-12e5-9833-a9b2323aa4b4.raw.gz"
KERNEL = "edgenode_1.1.efi"

PREPARE = f"""
export GNUPGHOME=$(mktemp -d)
for name in key foreign; do
  gpg --batch --quiet --passphrase "" --quick-gen-key "$name" ed25519 sign never
  gpg --batch --export "$name" > $name.gpg
done
truncate -s 64M disk.raw
sfdisk -q disk.raw <<TABLE
label: gpt
start=1MiB, size=8MiB, type=4f68bce3-e8cd-4db1-96e7-fbcaf984b709, name=root_1.0
size=2MiB, type=2c7357ed-ebd2-46d9-aec1-23d437ec2bf5, name=root_1.0
size=8MiB, type=4f68bce3-e8cd-4db1-96e7-fbcaf984b709, name=_empty
size=2MiB, type=2c7357ed-ebd2-46d9-aec1-23d437ec2bf5, name=_empty
TABLE
mkdir -p esp src
echo old > esp/edgenode_1.0.efi
head -c 8M /dev/urandom | gzip > src/{ROOT}
head -c 2M /dev/urandom | gzip > src/{VERITY}
head -c 1M /dev/urandom > src/{KERNEL}
cd src
sha256sum edgenode* > SHA256SUMS
gpg --batch --quiet -u key --detach-sign --output SHA256SUMS.gpg SHA256SUMS
gpg --batch --quiet -u foreign --detach-sign --output ../foreign.sig SHA256SUMS
gpgconf --kill all
"""

UPDATE = """
import json, sys
from pathlib import Path
from edgenode.system.errors import UpdateError
from edgenode.system.install import install
from edgenode.system.machine import Machine
from edgenode.system.slots import chosen
from edgenode.system.source import offered

here = Path.cwd()
machine = Machine("1.0", here / "disk.raw", here / "esp")
said = ""
try:
    source = (here / "src").as_uri()
    release = chosen(offered(source), None, machine.running, machine.entries())
    said = install(machine, release, source) if release else "newest"
except UpdateError as error:
    said = str(error)
print(json.dumps([said, [[slot.version, slot.state] for slot in machine.slots()]]))
"""


class Bench:
    """A copy of the small disk and its source, and the tools."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def run(self, *command: str, timeout: float = 60.0) -> str:
        """In the tools tree, where our key is the one that is believed."""
        inner = (
            'cd "$1"; shift; [ ! -e key.gpg ] ||'
            " mount --bind key.gpg /usr/lib/systemd/import-pubring.gpg;"
            ' exec env PYTHONPATH="/mnt/host$0" "$@"'
        )
        outer = '. "$0/images/parts.sh"; within "$@"'
        done = subprocess.run(
            [
                *("bash", "-euc", outer, str(PROJECT), str(TOOLS)),
                *("bash", "-euc", inner, str(PROJECT), f"/mnt/host{self.directory}", *command),
            ],
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def update(self) -> tuple[Any, list[list[str | None]]]:
        """What is said (True: installed), and the slots after it."""
        said, slots = json.loads(self.run("python3", "-B", "-c", UPDATE))
        return said, slots

    def running(self) -> bytes:
        """The slot that runs, and its kernel image: no update touches them."""
        disk = (self.directory / "disk.raw").read_bytes()
        return disk[1 << 20 : 11 << 20] + (self.directory / "esp/edgenode_1.0.efi").read_bytes()


OLD = ["1.0", "good"]
NEW = ["1.1", "on trial"]
EMPTY = [None, "empty"]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if os.geteuid() != 0 or not TOOLS.is_dir():
        pytest.skip("root, and a build's tools: ./run image makes them")
    directory = tmp_path_factory.mktemp("template")
    Bench(directory).run("bash", "-euc", PREPARE)
    return directory


@pytest.fixture
def bench(template: Path, tmp_path: Path) -> Iterator[Bench]:
    shutil.copytree(template, tmp_path / "bench")
    made = Bench(tmp_path / "bench")
    before = made.running()
    yield made
    assert made.running() == before


def test_a_version_goes_into_the_other_slot_on_trial(bench: Bench) -> None:
    assert bench.update() == (True, [OLD, NEW])
    names = [path.name for path in (bench.directory / "esp").iterdir()]
    assert sorted(names) == ["edgenode_1.0.efi", "edgenode_1.1+2-0.efi"]
    assert bench.update() == (False, [OLD, NEW]), "it is there already"


def test_what_a_foreign_key_signed_is_refused(bench: Bench) -> None:
    shutil.copy(bench.directory / "foreign.sig", bench.directory / "src/SHA256SUMS.gpg")
    said, slots = bench.update()
    assert "is not of the release key" in said
    assert slots == [OLD, EMPTY]


def test_a_list_that_was_changed_is_refused(bench: Bench) -> None:
    with open(bench.directory / "src/SHA256SUMS", "a") as listing:
        listing.write(f"{'0' * 64}  edgenode_9.9.efi\n")
    said, slots = bench.update()
    assert "is not of the release key" in said
    assert slots == [OLD, EMPTY]


@pytest.mark.parametrize("name", [ROOT, VERITY, KERNEL])
def test_a_truncated_download_is_refused(bench: Bench, name: str) -> None:
    file = bench.directory / "src" / name
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    said, slots = bench.update()
    assert "what runs is untouched" in said
    assert slots[0] == OLD
    assert slots[1][1] != "on trial", "nothing would start it"
    file.write_bytes(whole)
    assert bench.update() == (True, [OLD, NEW]), "the next try mends it"


def test_an_empty_kernel_image_does_not_count_as_installed(bench: Bench) -> None:
    """A power cut leaves one on vfat, where the name is written before the size."""
    bench.update()
    (bench.directory / "esp/edgenode_1.1+2-0.efi").write_bytes(b"")
    (bench.directory / "esp/.#edgenode_1.1.efi4711").write_bytes(b"a draft")
    assert bench.update() == (True, [OLD, NEW])
    assert (bench.directory / "esp/edgenode_1.1+2-0.efi").stat().st_size == 1 << 20
    assert not list((bench.directory / "esp").glob(".#*"))


def test_a_version_that_failed_is_not_installed_again(bench: Bench) -> None:
    bench.update()
    esp = bench.directory / "esp"
    (esp / "edgenode_1.1+2-0.efi").rename(esp / "edgenode_1.1+0-2.efi")
    said, slots = bench.update()
    assert "1.1 failed on this node" in said
    assert slots == [OLD, ["1.1", "failed"]]


def test_no_update_begins_while_what_runs_is_on_trial(bench: Bench) -> None:
    esp = bench.directory / "esp"
    (esp / "edgenode_1.0.efi").rename(esp / "edgenode_1.0+1-1.efi")
    said, _ = bench.update()
    assert "1.0, which runs, is on trial" in said
    (esp / "edgenode_1.0+1-1.efi").rename(esp / "edgenode_1.0.efi")
