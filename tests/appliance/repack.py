"""Another version of an image: its root is taken out, changed, and packed, hashed and signed anew.

A build takes minutes, and would differ in nothing else.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from edgenode.system import gpt
from tests.system.tree import PROJECT

TOOLS = PROJECT / ".cache/image/tools"
KEYS = PROJECT / "images/keys"

_INSIDE = """
set -eu
cd "$1"
definitions=$2 keys=$3
case $4 in
  out) fsck.erofs -d1 --extract=root --xattrs --offset="$6" "$5" ;;
  in)
    systemd-repart --empty=create --size=auto --offline=yes --root="$PWD/root" \\
      --definitions="$definitions" --dry-run=no "$5" ;;
  kernel)
    python3 - "$5" <<P
import pefile, sys
image = pefile.PE(sys.argv[1])
for section in image.sections:
    name = section.Name.rstrip(b"\\0").decode().lstrip(".")
    if name in ("linux", "initrd", "ucode", "uname", "osrel", "cmdline"):
        open(name, "wb").write(section.get_data()[: section.Misc_VirtualSize])
P
    sed -i "s/roothash=[0-9a-f]*/roothash=$7/" cmdline
    sed -i "s/^IMAGE_VERSION=.*/IMAGE_VERSION=$8/" osrel
    ukify build --linux=linux --initrd=initrd --microcode=ucode --cmdline=@cmdline \\
      --os-release=@osrel --uname="$(cat uname)" --output="$6" \\
      --secureboot-private-key="$keys/image.key" --secureboot-certificate="$keys/image.crt" ;;
esac
"""


def repack(
    image: Path, version: str, into: Path, change: Callable[[Path], None] = lambda _: None
) -> Path:
    """The image of another version beside its kernel image, as a build leaves them in `into`.

    `change` is given the root's tree. There is nothing but the root in it: it is to be released,
    and is never booted itself.
    """
    work = into / f"work-{version}"
    definitions = work / "repart"
    definitions.mkdir(parents=True)
    for name in ("10-root-a.conf", "11-root-a-verity.conf"):
        shutil.copy(PROJECT / "images/mkosi/mkosi.repart" / name, definitions)
    (root,) = (p for p in gpt.read(image) if p.type == gpt.ROOT and p.label != "_empty")
    _inside(work, "out", _seen(image), str(root.start))
    for name in ("usr/lib/os-release", "etc/os-release", "etc/initrd-release"):
        file = work / "root" / name
        if file.is_file() and not file.is_symlink():
            file.write_text(
                re.sub(r"(?m)^IMAGE_VERSION=.*$", f"IMAGE_VERSION={version}", file.read_text())
            )
    change(work / "root")
    made = into / f"edgenode-os_{version}.raw"
    _inside(work, "in", _seen(made))
    parts = {part.type: part for part in gpt.read(made)}
    # systemd-repart gives the partitions the two halves of the root's hash.
    roothash = parts[gpt.ROOT].uuid.hex + parts[gpt.ROOT_VERITY].uuid.hex
    kernel = made.with_suffix(".efi")
    old = image.with_suffix(".efi")
    _inside(work, "kernel", _seen(old), _seen(kernel), roothash, version)
    shutil.rmtree(work)
    return made


def _seen(path: Path) -> str:
    """As it is seen in the tools tree."""
    return f"/mnt/host{path.resolve()}"


def _inside(work: Path, what: str, *arguments: str) -> None:
    done = subprocess.run(
        [
            *("bash", "-euc", '. "$0/images/parts.sh"; within "$@"', str(PROJECT), str(TOOLS)),
            *("bash", "-euc", _INSIDE, "repack", _seen(work), _seen(work / "repart"), _seen(KEYS)),
            *(what, *arguments),
        ],
        capture_output=True,
        text=True,
        timeout=900,
    )
    if done.returncode != 0:
        sys.stderr.write(done.stdout[-4000:] + done.stderr[-4000:])
        raise RuntimeError(f"repack: {what} failed")


def release(image: Path, version: str, into: Path) -> None:
    """`./run release`."""
    command = (PROJECT / "images/release", "--version", version, "--from", image.parent, into)
    subprocess.run(list(map(str, command)), check=True, timeout=600)
