"""The three files of a version, out of a build's disk image and kernel image. `release` calls it.

Nothing is taken on trust: the root of the disk must be the one whose hash the kernel image asks
for, down to the last block (dm-verity, docs.kernel.org/admin-guide/device-mapper/verity.html).
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import os
import re
import struct
import sys
from pathlib import Path
from typing import BinaryIO

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from edgenode.system import gpt, manifest
from edgenode.system.versions import VALID

_SUPERBLOCK = struct.Struct("<8sII16s32sIIQH6x256s")


class Refusal(Exception):
    """Why this is not released, and what to do."""


def main() -> None:
    """The command that `release` runs."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--disk", type=Path, required=True)
    parser.add_argument("--kernel", type=Path, required=True)
    parser.add_argument("--version", required=True)
    parser.add_argument("--into", type=Path, required=True)
    given = parser.parse_args()
    try:
        release(given.disk, given.kernel, given.version, given.into)
    except Refusal as refusal:
        sys.exit(str(refusal))
    except (OSError, gpt.TableError) as error:
        sys.exit(f"{error}")


def release(disk: Path, kernel: Path, version: str, into: Path) -> None:
    """Leaves the files in place, and the list as `SHA256SUMS.new`, to be signed."""
    if not VALID.fullmatch(version):
        raise Refusal(f"{version} is no version that a node takes: as 1.2.3, without +")
    known = _known(into)
    root, verity = _slot(disk, version)
    image = kernel.read_bytes()
    roothash = root_hash(image)
    if (root.uuid.hex, verity.uuid.hex) != (roothash[:32], roothash[-32:]):
        raise Refusal(f"{kernel} is of another build than {disk}: build both anew")
    with open(disk, "rb") as file:
        if not fits(file, root, verity, roothash):
            raise Refusal(f"the root in {disk} does not have the hash that {kernel} asks for")
        names = {
            manifest.name_of(version, "root-x86-64", root.uuid): root,
            manifest.name_of(version, "root-x86-64-verity", verity.uuid): verity,
            manifest.name_of(version, "efi"): None,
        }
        new = {}
        for name, part in names.items():
            draft = into / f".{name}.part"
            with open(draft, "wb") as target:
                if part is None:
                    target.write(image)
                else:
                    _pack(file, part, target)
                target.flush()
                os.fsync(target.fileno())
            new[name] = _sha256(draft)
            if known.get(name, new[name]) != new[name]:
                draft.unlink()
                raise Refusal(
                    f"{version} is released already, with another {name}: take a higher one"
                )
        if any(name.startswith(f"edgenode_{version}.") and name not in new for name in known):
            raise Refusal(f"{version} is released already, with another root: take a higher one")
        for name in new:
            draft = into / f".{name}.part"
            draft.chmod(0o644)
            draft.replace(into / name)
    lines = [f"{checksum}  {name}\n" for name, checksum in sorted((known | new).items())]
    text = into / "SHA256SUMS.new"
    with open(text, "w", encoding="ascii") as listing:
        listing.writelines(lines)
        listing.flush()
        os.fsync(listing.fileno())
    text.chmod(0o644)


def _known(into: Path) -> dict[str, str]:
    """What is released there already; what was removed is left out, and what was changed refused.

    The list's signature was verified before. A file that it does not name is never signed.
    """
    try:
        listed = manifest.sums((into / "SHA256SUMS").read_text("ascii"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise Refusal(f"{into}: {error}") from None
    there = {name: checksum for name, checksum in listed.items() if (into / name).is_file()}
    for name, checksum in there.items():
        if _sha256(into / name) != checksum:
            raise Refusal(f"{into / name} is not what was released: remove it, or mend it")
    return there


def _slot(disk: Path, version: str) -> tuple[gpt.Partition, gpt.Partition]:
    found = {}
    for part in gpt.read(disk):
        if part.label == f"root_{version}":
            found[part.type] = part
    if gpt.ROOT not in found or gpt.ROOT_VERITY not in found:
        raise Refusal(f"{disk} has no root of version {version}")
    return found[gpt.ROOT], found[gpt.ROOT_VERITY]


def root_hash(image: bytes) -> str:
    """Of the command line in a unified kernel image."""
    (at,) = struct.unpack_from("<I", image, 0x3C)
    if image[:2] != b"MZ" or image[at : at + 4] != b"PE\0\0":
        raise Refusal("the kernel image is no PE file")
    count, optional = struct.unpack_from("<H12xH", image, at + 6)
    sections = at + 24 + optional
    for number in range(count):
        name, size, _, _, offset = struct.unpack_from("<8sIIII", image, sections + 40 * number)
        if name.rstrip(b"\0") == b".cmdline":
            line = image[offset : offset + size].decode("ascii", "replace")
            found = re.findall(r"(?:^|\s)roothash=([0-9a-f]{64})(?=[\s\0]|$)", line)
            if len(found) == 1:
                return str(found[0])
    raise Refusal("the kernel image asks for no root hash")


def fits(disk: BinaryIO, root: gpt.Partition, verity: gpt.Partition, roothash: str) -> bool:
    """Whether the root's blocks have this hash, by the hashes beside it."""
    disk.seek(verity.start)
    head = _SUPERBLOCK.unpack(disk.read(_SUPERBLOCK.size))
    magic, version, kind, _, algorithm, data_size, hash_size, blocks, length, salt = head
    algorithm = algorithm.rstrip(b"\0").decode("ascii", "replace")
    if (magic, version, kind, algorithm) != (b"verity\0\0", 1, 1, "sha256"):
        return False
    if data_size != 4096 or hash_size != 4096 or not 0 < blocks * data_size <= root.size:
        return False
    salted = hashlib.sha256(salt[:length])

    def digest(block: bytes) -> bytes:
        each = salted.copy()
        each.update(block)
        return each.digest()

    disk.seek(root.start)
    level = bytearray()
    # Most of a slot is zeros.
    zeros, of_zeros = bytes(data_size), digest(bytes(data_size))
    for _ in range(blocks):
        block = disk.read(data_size)
        level += of_zeros if block == zeros else digest(block)
    while True:
        # A level's hashes fill blocks, the last one with zeros; the top is one block.
        level += bytes(-len(level) % hash_size)
        parts = range(0, len(level), hash_size)
        hashes = b"".join(digest(bytes(level[at : at + hash_size])) for at in parts)
        if len(parts) == 1:
            return hashes.hex() == roothash
        level = bytearray(hashes)


def _pack(disk: BinaryIO, part: gpt.Partition, target: BinaryIO) -> None:
    disk.seek(part.start)
    left = part.size
    # What is in it is compressed already; no name and no time: the same root gives the same bytes.
    with gzip.GzipFile(filename="", mode="wb", compresslevel=1, fileobj=target, mtime=0) as packed:
        while left:
            piece = disk.read(min(left, 1 << 20))
            if not piece:
                raise Refusal("the disk image is shorter than its partitions: build it anew")
            packed.write(piece)
            left -= len(piece)


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    main()
