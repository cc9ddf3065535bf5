"""The appliance's image in QEMU: a disk, two network cards, a serial console, SSH.

KVM is taken where it runs a guest of ours, else emulation, which is several times slower: every
wait here is generous. The machine runs in a network namespace of the test: its first card is
QEMU's own user network (the management network, with DHCP), its second a TAP device there.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import testinfra

FIRMWARE = Path("/usr/share/OVMF/OVMF_CODE_4M.fd")
SECURE_FIRMWARE = Path("/usr/share/OVMF/OVMF_CODE_4M.secboot.fd")
"""Knows Secure Boot; without a key it is in setup mode."""
VARIABLES = Path("/usr/share/OVMF/OVMF_VARS_4M.fd")
SSH_PORT = 2222
DISK = "8G"
"""Larger than the image, so that /var has something to grow into."""

TAP = "tap0"
DATA_MAC = "52:54:00:00:00:02"


class VmError(Exception):
    """The machine did not do what was waited for; the text has the console's last lines."""


class Vm:
    """One machine, powered on until `close`."""

    def __init__(
        self,
        image: Path,
        directory: Path,
        namespace: str,
        accelerator: str,
        *,
        secure_boot: bool = False,
        authorize: bool = True,
    ) -> None:
        """`authorize`: root's SSH key comes as a credential."""
        self.directory = directory
        self.namespace = namespace
        self.key = directory / "ssh"
        self.console = directory / "console.log"
        self.disk = directory / "disk.qcow2"
        self.accelerator = accelerator
        self._authorize = authorize
        self._process: subprocess.Popen[bytes] | None = None
        self._secure_boot = secure_boot
        self._uuid = str(uuid.uuid4())
        """The machine's identity, which is the system's (systemd.machine_id=firmware)."""
        self._variables = directory / "vars.fd"
        shutil.copy(VARIABLES, self._variables)
        backing = ("-b", str(image.resolve()), "-F", "raw")
        _quiet("qemu-img", "create", "-q", "-f", "qcow2", *backing, str(self.disk), DISK)
        if not self.key.exists():
            _quiet("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(self.key))

    def power_on(self) -> None:
        """Start the machine. Its SSH key for root may come as a systemd credential by SMBIOS."""
        public = base64.b64encode(self.key.with_suffix(".pub").read_bytes()).decode()
        credential = f"io.systemd.credential.binary:ssh.authorized_keys.root={public}"
        machine, firmware = ("q35", FIRMWARE)
        if self._secure_boot:
            machine, firmware = ("q35,smm=on", SECURE_FIRMWARE)
        command = [
            *("qemu-system-x86_64", "-machine", machine, "-smp", "2", "-m", "2048"),
            # Only the firmware may write what it keeps keys in.
            *("-global", "driver=cfi.pflash01,property=secure,value=on") * self._secure_boot,
            *("-uuid", self._uuid),
            *("-accel", self.accelerator, "-cpu", "host" if self.accelerator == "kvm" else "max"),
            *("-drive", f"if=pflash,format=raw,readonly=on,file={firmware}"),
            *("-drive", f"if=pflash,format=raw,file={self._variables}"),
            *("-drive", f"file={self.disk},format=qcow2,if=virtio,cache=unsafe,discard=unmap"),
            *("-netdev", f"user,id=m,hostfwd=tcp:127.0.0.1:{SSH_PORT}-:22"),
            *("-device", "virtio-net-pci,netdev=m,romfile=,mac=52:54:00:00:00:01"),
            *("-netdev", f"tap,id=d,ifname={TAP},script=no,downscript=no"),
            *("-device", f"virtio-net-pci,netdev=d,romfile=,mac={DATA_MAC}"),
            *("-smbios", f"type=11,value={credential}") * self._authorize,
            *("-device", "virtio-rng-pci", "-rtc", "base=utc"),
            *("-display", "none", "-monitor", "none", "-serial", f"file:{self.console}"),
        ]
        self._process = subprocess.Popen(
            ("ip", "netns", "exec", self.namespace, *command),
            stdin=subprocess.DEVNULL,
            stdout=(self.directory / "qemu.log").open("ab"),
            stderr=subprocess.STDOUT,
            preexec_fn=_die_with_parent,
        )

    def ssh_command(self, *arguments: str) -> tuple[str, ...]:
        """A command line that runs `arguments` in the machine as root."""
        options = (
            *("-i", str(self.key), "-p", str(SSH_PORT), "-o", "IdentitiesOnly=yes"),
            *("-o", "StrictHostKeyChecking=accept-new", "-o", "ConnectTimeout=20"),
            *("-o", f"UserKnownHostsFile={self.directory / 'known_hosts'}", "-o", "BatchMode=yes"),
        )
        enter = ("ip", "netns", "exec", self.namespace)
        return (*enter, "ssh", *options, "root@127.0.0.1", "--", *arguments)

    def run(self, command: str, timeout: float = 120.0, check: bool = True) -> str:
        """What a shell command prints in the machine. Raises VmError where it fails."""
        ended = subprocess.run(
            self.ssh_command(command),
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
        )
        if check and ended.returncode != 0:
            said = ended.stderr.strip() or ended.stdout.strip()
            raise VmError(f"{command}: status {ended.returncode}: {said[-2000:]}")
        return ended.stdout

    def inside(self) -> Any:
        """The machine as testinfra sees it: to be used from within the namespace."""
        config = self.directory / "ssh_config"
        config.write_text(
            f"Host vm\n HostName 127.0.0.1\n Port {SSH_PORT}\n User root\n"
            f" IdentityFile {self.key}\n IdentitiesOnly yes\n BatchMode yes\n"
            f" UserKnownHostsFile {self.directory / 'known_hosts'}\n"
            " StrictHostKeyChecking accept-new\n ConnectTimeout 60\n"
        )
        return testinfra.get_host("ssh://vm", ssh_config=str(config))

    def wait_for_ssh(self, timeout: float = 420.0) -> float:
        """Seconds until root can log in."""
        return self.until(lambda: self.run("true") == "", "SSH", timeout)

    def until(
        self, what: Callable[[], bool], name: str, timeout: float, pause: float = 1.0
    ) -> float:
        """Seconds until `what` holds; its failures count as no."""
        started = time.monotonic()
        while time.monotonic() - started < timeout:
            if self._process is None or self._process.poll() is not None:
                raise VmError(f"the machine ended while {name} was waited for: {self.tail()}")
            with contextlib.suppress(VmError, subprocess.SubprocessError, OSError):
                if what():
                    return time.monotonic() - started
            time.sleep(pause)
        raise VmError(f"no {name} within {timeout:g} s; the console says:\n{self.tail()}")

    def tail(self, lines: int = 40) -> str:
        """The console's last lines."""
        with contextlib.suppress(OSError):
            return "\n".join(self.console.read_text(errors="replace").splitlines()[-lines:])
        return "(nothing)"

    def keep(self, directory: Path) -> None:
        """Copy what the machine that is off remembers: its disk, and its firmware's variables."""
        directory.mkdir(exist_ok=True)
        for file in (self.disk, self._variables):
            _quiet("cp", "--sparse=always", str(file), str(directory / file.name))

    def go_back(self, directory: Path) -> None:
        """As it was when it was kept."""
        for file in (self.disk, self._variables):
            _quiet("cp", "--sparse=always", str(directory / file.name), str(file))

    def close(self) -> None:
        """Power off at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def accelerator() -> str:
    """`kvm` where a guest really runs with it (a /dev/kvm alone says little), else `tcg`."""
    if not Path("/dev/kvm").exists():
        return "tcg"
    with contextlib.suppress(OSError):
        process = subprocess.Popen(
            [
                *("qemu-system-x86_64", "-machine", "q35", "-accel", "kvm", "-cpu", "host"),
                *("-m", "64", "-nodefaults", "-display", "none", "-debugcon", "stdio"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            preexec_fn=_die_with_parent,
        )
        try:
            # SeaBIOS speaks on the debug port (0x402) as soon as it runs.
            time.sleep(3.0)
            alive = process.poll() is None
        finally:
            process.kill()
            said, _ = process.communicate()
        if alive and said:
            return "kvm"
    return "tcg"


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG, prctl(2)


def _quiet(*command: str) -> None:
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def main(arguments: Sequence[str]) -> None:
    """Boot an image by hand: vm.py IMAGE DIRECTORY NAMESPACE."""
    image, directory, namespace = arguments
    vm = Vm(Path(image), Path(directory), namespace, accelerator())
    vm.power_on()
    print("accelerator", vm.accelerator, "ssh after", round(vm.wait_for_ssh()), "s")
    print(" ".join(vm.ssh_command()))
    signal.pause()


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
