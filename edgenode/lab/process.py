"""Daemons of the lab: each a process of its own session, inside its node's namespace.

All processes of one daemon (an nginx master and its workers, a supervisor and its relays) are
found by the session that the lab started them in; those that left it, by a mark in the
environment.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgenode.lab.errors import LabError
from edgenode.lab.netns import inside, pids

MARK = "EDGENODE_LAB_DAEMON"


@dataclass(frozen=True)
class Command:
    """How a daemon is started, so that it can be started again."""

    argv: tuple[str, ...]
    namespace: str
    mark: str
    log: Path
    environment: Mapping[str, str]


def spawn(command: Command, text: bytes | None = None) -> subprocess.Popen[bytes]:
    """Start a process in its namespace; output goes to its log, `text` to its standard input.

    Raises LabError when the program is not installed.
    """
    command.log.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, **command.environment, MARK: command.mark}
    with inside(command.namespace), command.log.open("ab") as log:
        try:
            process = subprocess.Popen(
                command.argv,
                stdin=subprocess.DEVNULL if text is None else subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd="/",
                env=environment,
                start_new_session=True,
            )
        except FileNotFoundError:
            raise LabError(f"{command.argv[0]} is not installed: the lab needs it") from None
    _as_urgent_as_we(process.pid)
    if process.stdin is not None:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(text or b"")
            process.stdin.close()
    return process


def _as_urgent_as_we(pid: int) -> None:
    """Give a session that we have started our own nice value.

    Where the kernel groups tasks by session (sched(7), "The autogroup feature"), that of a process
    counts within its session alone, and each session begins at 0.
    """
    if nice := os.getpriority(os.PRIO_PROCESS, 0):
        with contextlib.suppress(OSError):  # no such kernel, or the process has gone
            Path(f"/proc/{pid}/autogroup").write_text(str(nice), encoding="ascii")


def _session(pid: int) -> int:
    """The session of a process, -1 when it has gone or is a zombie (proc_pid_stat(5))."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return -1
    fields = stat[stat.rindex(")") + 2 :].split()
    return -1 if fields[0] in "ZX" else int(fields[3])


def _marked(pid: int, mark: str) -> bool:
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False
    return f"{MARK}={mark}".encode() in environment.split(b"\0")


def members(command: Command, session: int | None) -> list[int]:
    """The living processes of a daemon; `session` is the pid that the lab started."""
    return [
        pid
        for pid in pids(command.namespace)
        if (own := _session(pid)) != -1 and (own == session or _marked(pid, command.mark))
    ]


def send(targets: Iterable[int], sig: int) -> None:
    """Signal processes; one that has gone meanwhile is passed over."""
    for pid in targets:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, sig)


def send_at_once(leader: int, targets: Iterable[int], sig: int) -> float:
    """Signal a daemon's processes; the UNIX time just before.

    Those of the leader's process group get it with one call: between two, the kernel may be busy
    with the death of the first already.
    """
    others = [pid for pid in targets if _group(pid) != leader]
    moment = time.time()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, sig)
    send(others, sig)
    return moment


def _group(pid: int) -> int:
    """The process group of a process, -1 when it has gone."""
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return -1


def end(targets: Sequence[int], timeout: float, namespace: str | None = None) -> list[int]:
    """SIGKILL processes and wait for their end; those that still live after `timeout` seconds.

    With `namespace` a process is touched only if it is still in there, so that a pid that the
    kernel gave to somebody else in the meantime is never hit.
    """
    held: dict[int, int] = {}
    for pid in targets:
        with contextlib.suppress(ProcessLookupError):
            held[pid] = os.pidfd_open(pid)
    try:
        allowed = held.keys() if namespace is None else held.keys() & set(pids(namespace))
        waiting = {}
        for pid in allowed:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(held[pid], signal.SIGKILL)
                waiting[held[pid]] = pid
        deadline = time.monotonic() + timeout
        while waiting and (left := deadline - time.monotonic()) > 0:
            for ended in select.select(list(waiting), (), (), left)[0]:
                del waiting[ended]
        return sorted(waiting.values())
    finally:
        for descriptor in held.values():
            os.close(descriptor)
