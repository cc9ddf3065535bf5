"""Two machines of the Vagrant lab, emulated: an edge, and the router, which is a worker and the
user, too. Brought up by `vagrant up` with the project's own Vagrantfile and playbook.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.system.tree import PROJECT
from tests.vagrant.libvirt import Libvirt

EDGE, ROUTER = "lon1", "transit"
PREFIX, SERVICE = "203.0.113.0/24", "http://203.0.113.1/"


class LabError(Exception):
    """Something did not come about; the text has what was said."""


class Lab:
    """The machines; `up` starts them."""

    def __init__(self, directory: Path, libvirt: Libvirt, box: Path) -> None:
        self.directory = directory
        self.libvirt = libvirt
        self._environment = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "LC_ALL": "C.UTF-8",
            "HOME": str(directory),
            "VAGRANT_HOME": str(directory / "home"),
            # The operator's own lab in this checkout is another one.
            "VAGRANT_DOTFILE_PATH": str(directory / "dotfile"),
            "VAGRANT_CWD": str(PROJECT),
            "VAGRANT_CHECKPOINT_DISABLE": "1",
            "VAGRANT_NO_COLOR": "1",
            "EDGENODE_BOX": str(box),
            "EDGENODE_VAGRANT_NODES": f"{EDGE},{ROUTER}",
            "EDGENODE_VAGRANT_EMULATE": os.environ.get("EDGENODE_VAGRANT_EMULATE", "1"),
        }

    def vagrant(self, *arguments: str, timeout: float) -> str:
        """What a command of Vagrant says. Raises LabError where it fails."""
        done = self.libvirt.run(
            "vagrant", *arguments, environment=self._environment, at=PROJECT, timeout=timeout
        )
        name = f"{arguments[0]}-{time.monotonic():.0f}.log"
        (self.directory / name).write_text(done.stdout)
        if done.returncode != 0:
            raise LabError(f"vagrant {' '.join(arguments)}: {done.stdout[-6000:]}")
        return done.stdout

    def up(self) -> str:
        """Start both, and provision them."""
        said = self.vagrant("up", "--provider=libvirt", timeout=3000.0)
        self._ssh_config().write_text(self.vagrant("ssh-config", EDGE, ROUTER, timeout=120.0))
        return said

    def run(self, machine: str, command: str, check: bool = True) -> str:
        """What a shell command prints on a machine, as root."""
        done = self.libvirt.run(
            *("ssh", "-F", str(self._ssh_config()), "-o", "ConnectTimeout=30", machine),
            *("sudo", "sh", "-c", f"'{command}'"),
            environment=self._environment,
        )
        if check and done.returncode != 0:
            raise LabError(f"{machine}: {command}: {done.stdout[-3000:]}")
        return done.stdout

    def announced(self) -> bool:
        """Whether the router has the prefix from the edge, undrained."""
        said = self.run(ROUTER, f"birdc show route {PREFIX} all")
        return f"[{EDGE} " in said and "(65535,0)" not in said

    def get(self) -> str:
        """What the user gets."""
        return self.run(ROUTER, f"curl -s -m 20 {SERVICE}", check=False)

    def until(self, what: Callable[[], bool], name: str, timeout: float = 300.0) -> float:
        """Seconds until `what` holds; its failures count as no."""
        started = time.monotonic()
        while time.monotonic() - started < timeout:
            with suppress(LabError, subprocess.SubprocessError):
                if what():
                    return time.monotonic() - started
            time.sleep(1.0)
        raise AssertionError(f"{name}: not within {timeout:g} s")

    def _ssh_config(self) -> Path:
        return self.directory / "ssh_config"


@contextmanager
def running(directory: Path) -> Iterator[Lab]:
    """The lab, before `up`. Disks and boxes go with it; what was said stays."""
    libvirt = Libvirt(directory / "libvirt")
    try:
        yield Lab(directory, libvirt, newest_box())
    finally:
        libvirt.close()
        for large in ("home", "libvirt/lib"):
            shutil.rmtree(directory / large, ignore_errors=True)


def newest_box() -> Path:
    """What `./run image --format box` made last, or the file in EDGENODE_BOX."""
    if named := os.environ.get("EDGENODE_BOX"):
        return Path(named)
    boxes = (PROJECT / "images/out").glob("edgenode-os_*.box")
    found = max(boxes, key=lambda box: box.stat().st_mtime, default=None)
    if found is None:
        raise LabError("no box in images/out: ./run image --format box makes one")
    return found


def changes(said: str) -> dict[str, int]:
    """Changes of each machine, from the recap of the playbook's last run."""
    return {m[1]: int(m[2]) for m in re.finditer(r"^\s*(\S+) +: .*changed=(\d+)", said, re.M)}
