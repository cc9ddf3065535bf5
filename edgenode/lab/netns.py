"""Network namespaces: made, entered, configured, found by their processes, removed."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from edgenode.lab.errors import LabError
from edgenode.lab.names import NETNS_ROOT

CLONE_NEWNET = 0x40000000
LIMIT = 20.0

_libc = ctypes.CDLL(None, use_errno=True)


def setns(descriptor: int) -> None:
    """Move the calling thread to the network namespace behind a descriptor (setns(2)).

    Raises OSError. Python has os.setns from 3.12 only.
    """
    if _libc.setns(descriptor, CLONE_NEWNET) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


@contextmanager
def inside(namespace: str) -> Iterator[None]:
    """Run the body inside a namespace: sockets opened and processes started there stay there.

    It moves the calling thread alone. Never await within it: the event loop's other tasks
    would run in the namespace too. Raises LabError when the namespace is not there.
    """
    try:
        target = os.open(NETNS_ROOT / namespace, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise LabError(f"namespace {namespace} does not exist: is the lab up?") from None
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        # Within one `try`, or an interrupt between the two would leave the thread in there.
        setns(target)
        yield
    finally:
        setns(home)
        os.close(home)
        os.close(target)


def run(
    argv: Iterable[str],
    text: str | None = None,
    namespace: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Run a command, for LIMIT seconds at most, maybe inside a namespace; return its output.

    Raises LabError with the command and what it said, or when the command is not installed.
    """
    command = list(argv)
    try:
        if namespace is None:
            done = _run(command, text, environment)
        else:
            with inside(namespace):
                done = _run(command, text, environment)
    except FileNotFoundError:
        raise LabError(f"{command[0]} is not installed: the lab needs it") from None
    except subprocess.TimeoutExpired:
        raise LabError(f"{' '.join(command)} did not end within {LIMIT:g} s") from None
    if done.returncode != 0:
        said = " ".join((done.stderr or done.stdout).split()) or f"status {done.returncode}"
        place = f" in {namespace}" if namespace else ""
        raise LabError(f"{' '.join(command)}{place} failed: {said}")
    return done.stdout


def _run(
    command: list[str], text: str | None, environment: Mapping[str, str] | None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        input=text or "",
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
        env={**os.environ, **(environment or {})},
    )


def create(namespace: str) -> None:
    """Make a namespace. Raises LabError."""
    run(["ip", "netns", "add", namespace])


def remove(namespace: str) -> None:
    """Remove a namespace, if it is there. Raises LabError."""
    if (NETNS_ROOT / namespace).exists():
        run(["ip", "netns", "delete", namespace])


def configure(namespace: str, commands: Iterable[str]) -> None:
    """Give `ip` a batch of commands within a namespace; the first that fails ends it.

    Raises LabError.
    """
    run(["ip", "-n", namespace, "-batch", "-"], text="\n".join(commands) + "\n")


def sysctl(namespace: str, values: Mapping[str, str | int]) -> None:
    """Set sysctls of a namespace ("net.ipv4.ip_forward": 1). What the kernel lacks is skipped."""
    with inside(namespace):
        for key, value in values.items():
            path = Path("/proc/sys", *key.split("."))
            if path.exists():
                path.write_text(f"{value}\n", encoding="ascii")


def pids(namespace: str) -> list[int]:
    """The processes whose main thread is in a namespace, as `ip netns pids` finds them."""
    try:
        wanted = os.stat(NETNS_ROOT / namespace)
    except FileNotFoundError:
        return []
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                where = os.stat(f"/proc/{entry}/ns/net")
            except OSError:
                continue  # gone meanwhile, or a zombie, which has no namespace any more
            if (where.st_dev, where.st_ino) == (wanted.st_dev, wanted.st_ino):
                found.append(int(entry))
    return sorted(found)
