"""A libvirt of the test's own, on a host that need not run one.

Its bridges, DHCP and firewall rules are in a network namespace, its configuration and state in a
mount namespace, and its processes in a PID namespace: all of them end with the first of these,
which ends with us, however that comes. Nothing of the host's is written to.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from tests.system.machine import end_with_parent

_QEMU = """
security_driver = "none"
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
namespaces = []
cgroup_controllers = []
stdio_handler = "file"
"""
_LIBVIRTD = 'auth_unix_ro = "none"\nauth_unix_rw = "none"\n'

_FIRST = """
cd "$1"
ip link set lo up
mount -t sysfs sysfs /sys  # this network's, for bridges
mount -t tmpfs tmpfs /run
mkdir /run/lock
for place in etc lib cache log; do
  case $place in etc) over=/etc/libvirt ;; *) over=/var/$place/libvirt ;; esac
  mkdir -p "$place/libvirt"
  mount --bind "$place/libvirt" "$over"
done
mkdir -p /var/lib/libvirt/images
libvirtd &
wait $!
"""
"""The namespaces' first process: not libvirtd itself, for somebody has to reap what it leaves."""

PLACES = ("/etc/libvirt", "/var/lib/libvirt", "/var/cache/libvirt", "/var/log/libvirt")


class Libvirt:
    """It runs until `close`. `directory` holds all that it writes, the machines' disks too."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        configuration = directory / "etc/libvirt"
        configuration.mkdir(parents=True)
        (configuration / "qemu.conf").write_text(_QEMU)
        (configuration / "libvirtd.conf").write_text(_LIBVIRTD)
        for place in PLACES:  # what is mounted over
            Path(place).mkdir(parents=True, exist_ok=True)
        self._log = (directory / "libvirtd.log").open("ab")
        self._process = subprocess.Popen(
            [
                *("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
                *("bash", "-euc", _FIRST, "first", str(directory)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            preexec_fn=end_with_parent,
        )
        try:
            self._wait()
        except BaseException:
            self.close()
            raise

    def run(
        self,
        *command: str,
        environment: Mapping[str, str] | None = None,
        at: Path | None = None,
        timeout: float = 120.0,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in there; its output and errors are one text."""
        where = ("env", "-C", str(at)) if at else ()
        return subprocess.run(
            [
                *("nsenter", "--target", str(self._first()), "--net", "--mount", "--pid"),
                *(*where, *command),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            env=environment,
            check=False,
        )

    def said(self) -> str:
        """What libvirtd complained about."""
        return (self.directory / "libvirtd.log").read_text(errors="replace")[-4000:]

    def close(self) -> None:
        """End all of it, the machines too."""
        self._process.kill()
        self._process.wait()
        self._log.close()

    def _first(self) -> int:
        pid = self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        if not children:
            raise RuntimeError(f"libvirtd ended: {self.said()}")
        return int(children[0])

    def _wait(self, timeout: float = 60.0) -> None:
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                if self.run("virsh", "-c", "qemu:///system", "version").returncode == 0:
                    return
            except RuntimeError:
                pass
            time.sleep(0.5)
        raise RuntimeError(f"libvirtd does not answer: {self.said()}")
