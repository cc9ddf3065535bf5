"""What `./run release` takes of a build, and what it refuses before anything is signed."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import struct
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from uuid import UUID

import pytest

from edgenode.system.gpt import ROOT, ROOT_VERITY, Partition
from tests.unit.system.test_gpt import table

PROJECT = Path(__file__).parents[2]
BLOCK = 4096
BLOCKS = 300
"""Of a root: more than one block of hashes (128)."""
SALT = bytes(range(32))


def _module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("artefacts", PROJECT / "images/artefacts.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["artefacts"] = module
    spec.loader.exec_module(module)
    return module


artefacts = _module()


def tree(data: bytes) -> tuple[bytes, str]:
    """dm-verity's hashes of some blocks, top level first, and the root hash."""
    levels: list[bytes] = []
    blocks = [data[at : at + BLOCK] for at in range(0, len(data), BLOCK)]
    while True:
        hashes = b"".join(hashlib.sha256(SALT + block).digest() for block in blocks)
        if len(blocks) == 1 and levels:
            return b"".join(reversed(levels)), hashes.hex()
        hashes += bytes(-len(hashes) % BLOCK)
        levels.append(hashes)
        blocks = [hashes[at : at + BLOCK] for at in range(0, len(hashes), BLOCK)]


def kernel(line: str) -> bytes:
    """A PE file with nothing but a command line in it."""
    head = b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 0x40)
    coff = b"PE\0\0" + struct.pack("<HHIIIHH", 0x8664, 1, 0, 0, 0, 0, 0)
    section = struct.pack("<8sIIII16x", b".cmdline", len(line), 0, len(line), 0x100)
    return (head + coff + section).ljust(0x100, b"\0") + line.encode()


class Build:
    """A build's output of one version, small."""

    def __init__(self, directory: Path, version: str = "1.1", root: bytes | None = None) -> None:
        self.version = version
        data = root or b"".join(bytes([n % 251]) * BLOCK for n in range(BLOCKS - 50))
        data = data.ljust(BLOCKS * BLOCK, b"\0")
        hashes, self.roothash = tree(data)
        superblock = struct.pack(
            "<8sII16s32sIIQH6x256s",
            *(b"verity\0\0", 1, 1, bytes(16), b"sha256", BLOCK, BLOCK, BLOCKS, len(SALT), SALT),
        ).ljust(BLOCK, b"\0")
        verity = (superblock + hashes).ljust(16 * BLOCK, b"\0")
        start = 1 << 20
        label = f"root_{version}"
        parts = [
            Partition(ROOT, UUID(self.roothash[:32]), label, start, len(data)),
            Partition(
                ROOT_VERITY, UUID(self.roothash[-32:]), label, start + len(data), len(verity)
            ),
        ]
        self.data = data
        self.disk = directory / f"{version}.raw"
        self.disk.write_bytes(table(parts, 512).ljust(start, b"\0") + data + verity)
        self.kernel = directory / f"{version}.efi"
        self.kernel.write_bytes(kernel(f"quiet roothash={self.roothash} panic=10"))

    def release(self, into: Path) -> str:
        """The list that is to be signed; it is taken for signed then."""
        into.mkdir(exist_ok=True)
        artefacts.release(self.disk, self.kernel, self.version, into)
        text = (into / "SHA256SUMS.new").read_text()
        (into / "SHA256SUMS.new").rename(into / "SHA256SUMS")
        return text


@pytest.fixture
def build(tmp_path: Path) -> Build:
    return Build(tmp_path)


def test_a_build_becomes_three_files_and_a_list(build: Build, tmp_path: Path) -> None:
    into = tmp_path / "updates"
    listing = build.release(into)
    names = [line.split()[1] for line in listing.splitlines()]
    assert [name.split(".", 2)[2].split(".")[0] for name in names] == [
        "efi",
        "root-x86-64-verity",
        "root-x86-64",
    ]
    assert sorted([*names, "SHA256SUMS"]) == sorted(path.name for path in into.iterdir())
    assert gzip.decompress((into / names[2]).read_bytes()) == build.data
    assert build.release(into) == listing, "again it is the same"


def test_several_versions_and_no_stray_file(build: Build, tmp_path: Path) -> None:
    into = tmp_path / "updates"
    build.release(into)
    (into / "edgenode_6.6.6.efi").write_text("put here by somebody")
    listing = Build(tmp_path, "1.2", b"another").release(into)
    assert len(listing.splitlines()) == 6
    assert "6.6.6" not in listing
    for file in into.glob("edgenode_1.1.*"):
        file.unlink()
    assert "edgenode_1.1." not in build_again(tmp_path).release(into), "what was removed is gone"


def build_again(tmp_path: Path) -> Build:
    return Build(tmp_path, "1.3", b"a third")


def refused(build: Build, into: Path, said: str) -> None:
    """And nothing is left that could be signed."""
    with pytest.raises(artefacts.Refusal, match=said):
        build.release(into)
    assert not (into / "SHA256SUMS.new").exists()


@pytest.mark.parametrize("block", [0, 130, BLOCKS - 1])
def test_a_root_without_its_hash_is_refused(build: Build, tmp_path: Path, block: int) -> None:
    with open(build.disk, "r+b") as disk:
        disk.seek((1 << 20) + block * BLOCK + 17)
        disk.write(b"!")
    refused(build, tmp_path / "updates", "does not have the hash")


def test_a_kernel_image_of_another_build_is_refused(build: Build, tmp_path: Path) -> None:
    build.kernel.write_bytes(kernel(f"roothash={'0' * 64}"))
    refused(build, tmp_path / "updates", "is of another build")
    build.kernel.write_bytes(kernel("quiet"))
    refused(build, tmp_path / "updates", "asks for no root hash")
    build.kernel.write_bytes(b"no kernel image" * 10)
    refused(build, tmp_path / "updates", "is no PE file")


def test_a_version_never_changes(build: Build, tmp_path: Path) -> None:
    into = tmp_path / "updates"
    build.release(into)
    refused(Build(tmp_path, "1.1", b"another"), into, "released already, with another")


def test_what_was_changed_since_is_not_signed_again(build: Build, tmp_path: Path) -> None:
    into = tmp_path / "updates"
    build.release(into)
    (into / "edgenode_1.1.efi").write_bytes(b"other bytes")
    refused(Build(tmp_path, "1.2"), into, "is not what was released")


def test_a_version_that_a_boot_entry_could_not_have_is_refused(tmp_path: Path) -> None:
    refused(Build(tmp_path, "1.1+2"), tmp_path / "updates", "no version that a node takes")


@pytest.mark.parametrize(
    "options", [["--foo", "x"], ["--keys"], [], ["a", "b"]], ids=lambda each: " ".join(each) or "-"
)
@pytest.mark.parametrize("tool", ["release", "operatorkeys"])
def test_wrong_options_are_said(tool: str, options: list[str]) -> None:
    if tool == "operatorkeys" and not options:
        return  # it has a default
    done = subprocess.run([PROJECT / "images" / tool, *options], capture_output=True, text=True)
    assert done.returncode == 2
    assert "--help" in done.stderr
