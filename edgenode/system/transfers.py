"""What systemd-sysupdate is told: one transfer for each part of a version (sysupdate.d(5)). Pure.

They are taken in the order of their names, and the kernel image comes last: until it is there
nothing boots what was written before it. The slot of the version that runs is never taken
(ProtectVersion=). Gzip and nothing else: what was packed by zstd was called installed, and its
root did not fit its hashes.
"""

from __future__ import annotations

from pathlib import Path

TRIES = 2
"""How often a new version is started until the one before it is taken again."""

_HEAD = """\
[Transfer]
ProtectVersion={running}
Verify=yes

[Source]
Type=url-file
Path={url}
MatchPattern={pattern}

[Target]
"""
_PARTITION = """\
Type=partition
Path={disk}
MatchPattern=root_@v
MatchPartitionType={part}
ReadOnly=1
InstancesMax=2
"""
_KERNEL = """\
Type=regular-file
Path={directory}
MatchPattern=edgenode_@v+@l-@d.efi edgenode_@v+@l.efi edgenode_@v.efi
Mode=0644
TriesLeft={tries}
TriesDone=0
InstancesMax=2
"""


def transfers(url: str, running: str, disk: Path, kernels: Path) -> dict[str, str]:
    """Texts by file name. `kernels` is the directory of the boot entries."""
    url, running = _escaped(url), _escaped(running)

    def partition(part: str, kind: str) -> str:
        pattern = f"edgenode_@v.{part}.@u.raw.gz"
        head = _HEAD.format(running=running, url=url, pattern=pattern)
        return head + _PARTITION.format(disk=_escaped(str(disk)), part=kind)

    kernel = _HEAD.format(running=running, url=url, pattern="edgenode_@v.efi")
    return {
        "10-verity.transfer": partition("root-x86-64-verity", "root-x86-64-verity"),
        "20-root.transfer": partition("root-x86-64", "root-x86-64"),
        "30-kernel.transfer": kernel
        + _KERNEL.format(directory=_escaped(str(kernels)), tries=TRIES),
    }


def _escaped(text: str) -> str:
    """`%` begins a specifier there."""
    return text.replace("%", "%%")
