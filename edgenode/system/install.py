"""A new version into the other slot, by systemd-sysupdate; and whether it is really there.

| cut | what is left |
|---|---|
| while the slot is written | its label is not the version's: it is written again |
| while the kernel image is written | a draft that nothing boots; the next update removes it |
| when its name is there, and its bytes are not | an image that the boot loader does not load, \
so that it takes the old version's; the next update removes it |
| later | the new version, on trial |
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from edgenode.system.errors import UpdateError
from edgenode.system.machine import Machine
from edgenode.system.manifest import Release
from edgenode.system.slots import installed
from edgenode.system.transfers import transfers

SYSUPDATE = ("/usr/lib/systemd/systemd-sysupdate",)
_LONGEST = 3 * 3600.0
_LAST_LINES = 4


def is_whole(machine: Machine, release: Release) -> bool:
    """Whether a release is in its slot, with a kernel image that is the source's. Raises
    UpdateError."""
    return installed(release, machine.partitions()) and machine.kernel_is(
        release.version, release.kernel
    )


def install(
    machine: Machine, release: Release, source: str, command: tuple[str, ...] = SYSUPDATE
) -> bool:
    """False: it was there already. Raises UpdateError."""
    if is_whole(machine, release):
        return False
    machine.remove_kernels(release.version)
    with tempfile.TemporaryDirectory(prefix="edgenode-sysupdate-") as definitions:
        texts = transfers(source, machine.running, machine.disk, machine.kernels)
        for name, text in texts.items():
            (Path(definitions) / name).write_text(text)
        _run(
            # Unpacking and hashing leave the cores to whoever serves users.
            *("nice", "-n", "19", *command, f"--definitions={definitions}", "--verify=yes"),
            *("update", release.version),
        )
    machine.settle(release.version)
    if not is_whole(machine, release):
        raise UpdateError(
            f"{release.version} was written, and is not what the source has: nothing was started; "
            "try again, and see the journal"
        )
    return True


def _run(*command: str) -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_LONGEST, stdin=subprocess.DEVNULL
        )
    except FileNotFoundError as error:
        raise UpdateError(f"{error.filename} is not installed") from None
    except subprocess.TimeoutExpired:
        raise UpdateError(f"systemd-sysupdate did not end within {_LONGEST / 3600:g} h") from None
    if done.returncode != 0:
        said = "; ".join(f"{done.stdout}\n{done.stderr}".strip().splitlines()[-_LAST_LINES:])
        raise UpdateError(f"systemd-sysupdate failed, what runs is untouched: {said}")
