"""A Debian machine with systemd as PID 1, in namespaces of its own.

Its root is an overlay over a tree (see `tree`), its network a namespace that the test wires. It is
a machine for what units, users and playbooks do; it has no boot loader, and this host's kernel.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_numbers = itertools.count()

# PID 1 enters its cgroup by itself: a process that stayed in the top of it would keep systemd from
# handing controllers down.
_ENTER = r"""
echo 0 > "$2/cgroup.procs"
exec unshare --cgroup bash -euc "$6" "$0" "$@"
"""

# The kernel is the host's: the machine may write the settings of its own network namespace, and
# no others. With /sys read-only systemd knows, too, that no udev is to be waited for.
_BOOT = r"""
root=$1
mount --make-rprivate /
mount -t overlay overlay -o "lowerdir=$3,upperdir=$4,workdir=$5" "$root"
mount -t proc proc "$root/proc"
mount --bind "$root/proc/sys/net" "$root/mnt"
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
mount --move "$root/mnt" "$root/proc/sys/net"
mount -o ro -t sysfs sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
for directory in run tmp; do mount -t tmpfs tmpfs "$root/$directory"; done
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
mkdir "$root/dev/pts" "$root/dev/shm" "$root/dev/net"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
mount -t tmpfs tmpfs "$root/dev/shm"
ln -s pts/ptmx "$root/dev/ptmx"
for node in null:3 zero:5 full:7 random:8 urandom:9; do
  mknod -m 666 "$root/dev/${node%:*}" c 1 "${node#*:}"
done
mknod -m 666 "$root/dev/tty" c 5 0
mknod -m 666 "$root/dev/net/tun" c 10 200
cd "$root"
mkdir -p .old
pivot_root . .old
umount -l /.old
exec env -i container=lxc PATH=/usr/sbin:/usr/bin /lib/systemd/systemd
"""


# For the mesh where this kernel has no WireGuard. No part of the product: a node has the kernel's.
WIREGUARD_GO = """\
[Unit]
Before=edgenode-mesh.service
[Service]
User=edgenode
AmbientCapabilities=CAP_NET_ADMIN
RuntimeDirectory=wireguard
Environment=LOG_LEVEL=error
ExecStart=/usr/bin/wireguard-go -f wg0
ExecStartPost=/bin/sh -c 'until [ -S /run/wireguard/wg0.sock ]; do sleep 0.02; done'
[Install]
WantedBy=multi-user.target
"""


class MachineError(Exception):
    """The machine did not do what was waited for."""


class Machine:
    """Running from `start` to `stop`. Its files outlive a `stop`, as a disk does."""

    def __init__(self, name: str, tree: Path, directory: Path) -> None:
        self.name = name
        self.namespace = f"t-sys-{os.getpid()}-{next(_numbers)}"
        self._tree = tree
        self._directory = directory
        self._cgroup = _cgroups() / self.namespace
        self._process: subprocess.Popen[bytes] | None = None
        for each in ("root", "upper", "work"):
            (directory / each).mkdir(parents=True, exist_ok=True)
        (self.files / "etc").mkdir(exist_ok=True)
        (self.files / "etc/hostname").write_text(f"{name}\n")
        remove_stale()
        ip("netns", "add", self.namespace)
        ip("-n", self.namespace, "link", "set", "lo", "up")

    @property
    def leader(self) -> int:
        """The machine's PID 1, as the host numbers it. Raises MachineError."""
        if self._process is None or self._process.poll() is not None:
            raise MachineError(f"{self.name} does not run")
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        if not (pids := children.read_text().split()):
            raise MachineError(f"{self.name} ends just now")
        return int(pids[0])

    @property
    def files(self) -> Path:
        """What differs from the tree; written before the start it is on the machine."""
        return self._directory / "upper"

    def start(self) -> None:
        """Start, and wait until the machine has come up."""
        self._cgroup.mkdir(exist_ok=True)
        self._process = subprocess.Popen(
            [
                # Not `ip netns exec`: that hides the host's cgroups.
                *("nsenter", f"--net=/run/netns/{self.namespace}", "unshare"),
                *("--pid", "--mount", "--uts", "--ipc", "--fork", "--kill-child"),
                *("bash", "-euc", _ENTER, self.name, str(self._directory / "root")),
                *(str(self._cgroup), str(self._tree), str(self.files)),
                *(str(self._directory / "work"), _BOOT),
            ],
            stdin=subprocess.DEVNULL,
            stdout=(self._directory / "console").open("ab"),
            stderr=subprocess.STDOUT,
            preexec_fn=end_with_parent,
        )
        self.until(self._is_up, "the machine's start", 60.0)

    def stop(self) -> None:
        """End it at once, as by a power cut."""
        if self._process is not None:
            self._process.kill()  # --kill-child: the machine's PID 1, and with it all of it
            self._process.wait()
            self._process = None
        _remove_cgroups(self._cgroup)

    def close(self) -> None:
        """Stop it, and remove its network."""
        self.stop()
        subprocess.run(["ip", "netns", "delete", self.namespace], check=False)

    def run(self, command: str, check: bool = True, timeout: float = 60.0) -> str:
        """What a shell command prints on the machine, both streams. Raises MachineError."""
        done = subprocess.run(
            [*self._enter(), "/bin/sh", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin", "LC_ALL": "C.UTF-8"},
        )
        if check and done.returncode != 0:
            raise MachineError(f"{self.name}: {command}: {done.returncode}: {done.stdout}")
        return done.stdout

    def write(self, path: str, text: str) -> None:
        """Write a file on the running machine."""
        subprocess.run(
            [*self._enter(), "/bin/sh", "-c", f"mkdir -p $(dirname {path}); cat > {path}"],
            input=text,
            text=True,
            check=True,
            timeout=20,
        )

    def property(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self.run(f"systemctl show -P {shlex.quote(name)} {shlex.quote(unit)}").strip()

    def main_pid(self, unit: str) -> int:
        """The main process of a unit, as the machine numbers it."""
        return int(self.property(unit, "MainPID"))

    def until(self, what: Callable[[], Any], name: str, timeout: float = 20.0) -> None:
        """Wait until `what` is true. Raises MachineError with the journal's end."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if self._process is not None and self._process.poll() is not None:
                break
            with contextlib.suppress(MachineError, ValueError):
                if what():
                    return
            time.sleep(0.1)
        raise MachineError(f"{name}: not within {timeout:g} s\n{self.journal()}")

    def journal(self, lines: int = 80) -> str:
        """The journal's end."""
        with contextlib.suppress(Exception):
            return self.run(f"journalctl --no-pager -q -n {lines} -o short-monotonic", check=False)
        return (self._directory / "console").read_text(errors="replace")[-4000:]

    def _is_up(self) -> bool:
        state = self.run("systemctl is-system-running", check=False).strip()
        return state in ("running", "degraded")

    def _enter(self) -> tuple[str, ...]:
        return ("nsenter", "-t", str(self.leader), "-m", "-u", "-i", "-n", "-p", "-C", "--")


def end_with_parent() -> None:
    """For a child between fork and exec: killed when the thread that started it ends."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def remove_stale() -> None:
    """Remove what is left of the machines of test processes that were killed."""
    names = Path("/run/netns")
    for place in (*_cgroups().glob("t-sys-*"), *(names.glob("t-sys-*") if names.exists() else ())):
        if Path("/proc", place.name.split("-")[2]).exists():
            continue
        if place.parent == names:
            subprocess.run(["ip", "netns", "delete", place.name], check=False)
        else:
            _remove_cgroups(place)


def _remove_cgroups(top: Path) -> None:
    for group in sorted(top.glob("**/"), reverse=True):
        for _ in range(50):
            try:
                group.rmdir()
            except FileNotFoundError:
                break
            except OSError:
                time.sleep(0.02)  # its last process is not reaped yet
            else:
                break


def _cgroups() -> Path:
    """Where cgroup2 is mounted: all of it, or beside the older hierarchies."""
    for line in Path("/proc/mounts").read_text().splitlines():
        _, place, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(place)
    raise MachineError("cgroup2 is mounted nowhere: systemd cannot run without")


def ip(*arguments: str) -> None:
    """ip(8)."""
    subprocess.run(["ip", *arguments], check=True, stdin=subprocess.DEVNULL)
