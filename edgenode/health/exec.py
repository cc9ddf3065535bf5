"""EXEC probe: a command decides, by its exit status, as the Nagios plugins' guidelines have it.

0 is up, 1 a warning (up, or down where the check says so), 2 and whatever else down. 3, "unknown",
is what a plugin says that could not look (wrong arguments, no memory, no fork): no word on the
service, so no verdict, unless the check says down. `watch` bounds how long that may last.

Run without a shell, in a session and process group of its own, which is killed as a whole when the
command has ended, wrote too much or took too long. What it starts in yet another session escapes.

It is started by `env`, and not by us: execve of a program on a dead file server hangs, and
`subprocess` waits for it with the interpreter locked (vfork), in whatever thread. `env` is local:
what hangs then is the command, within its timeout, and it is killed like any other.

The command gets none of this process's descriptors (all are close-on-exec, and `close_fds` closes
the rest before exec), so that one left behind by a killed control holds no socket of ours.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgenode.health.observation import Observation, printable, seconds
from edgenode.health.sockets import OWN_FAULT

STARTER = ("/usr/bin/env", "--")

KEPT = 4 * 1024
"""Bytes of output that are kept for the reason."""

FLOOD = 1024 * 1024
"""Bytes of output at which the command is ended: a check has no use for more."""

KILL_WAIT = 1.0
"""Seconds to wait for the end of a killed command."""

# A fixed environment: ours may hold secrets and the service manager's sockets.
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ENVIRONMENT = {
    "PATH": PATH,
    "LC_ALL": "C.UTF-8",
}


WARNING, UNKNOWN = 1, 3


@dataclass(frozen=True)
class Outcome:
    """What a command that has ended says."""

    ok: bool
    reason: str
    warning: bool = False
    known: bool = True


class ExecProbe:
    """Runs `command`, for at most `timeout` seconds."""

    def __init__(
        self,
        command: Sequence[str],
        timeout: float,
        *,
        warning_is_up: bool = True,
        unknown_is_down: bool = False,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """`environment`: what the command gets in it beside the little that all get."""
        self._environment = {**(environment or {}), **_ENVIRONMENT}
        self._command = tuple(command)
        self._name = printable(command[0])  # a path may be longer than an answer, and on two lines
        self._timeout = timeout
        self._warning_is_up = warning_is_up
        self._unknown_is_down = unknown_is_down
        self._unkillable: subprocess.Popen[bytes] | None = None

    async def __call__(self) -> Observation:
        """Probe once. Raises OSError where this process is at fault."""
        started = time.monotonic()
        timed = False
        if self._unkillable is not None and self._unkillable.poll() is None:
            # Stuck in the kernel (a dead disk or file server): no second one beside it.
            reason = f"{self._name}: process {self._unkillable.pid} does not end when killed"
            return Observation(False, reason, 0.0)
        try:
            run = _Run(self._command, self._environment)
        except OSError as error:
            if error.errno in OWN_FAULT:
                raise
            reason = f"{STARTER[0]} could not be started: {error.strerror or error}"
            return Observation(False, reason, time.monotonic() - started)
        try:
            if await run.end(self._timeout):
                outcome = self._read(*run.outcome())
            else:
                timed = True
                outcome = Outcome(False, f"did not end within {seconds(self._timeout)}")
        finally:
            await run.close()
            self._unkillable = run.process if run.process.returncode is None else None
        reason = f"{self._name}: {outcome.reason}"
        return Observation(
            outcome.ok,
            reason,
            time.monotonic() - started,
            timed,
            warning=reason if outcome.warning else "",
            known=outcome.known,
        )

    def _read(self, status: int | None, text: str) -> Outcome:
        if status is None:
            return Outcome(False, text)
        if status == 0:
            return Outcome(True, text or "exit status 0")
        reason = f"exit status {status}" + (f": {text}" if text else "")
        if status == WARNING and self._warning_is_up:
            return Outcome(True, reason, warning=True)
        if status == UNKNOWN and not self._unknown_is_down:
            return Outcome(False, reason, warning=True, known=False)
        return Outcome(False, reason)


class _Run:
    """One run of a command: its process, its output, its end."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        self._output = bytearray()
        self._written = 0
        self.process = subprocess.Popen(
            (*STARTER, *command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
            close_fds=True,
            start_new_session=True,
            cwd="/",
            env=environment,
        )
        assert self.process.stdout is not None
        self._pipe = self.process.stdout
        os.set_blocking(self._pipe.fileno(), False)
        self._dead = asyncio.Event()
        try:
            self._pidfd = os.pidfd_open(self.process.pid)
        except OSError:
            self._kill()
            self.process.wait()
            self._pipe.close()
            raise
        self._loop.add_reader(self._pidfd, self._on_death)
        self._loop.add_reader(self._pipe, self._read)

    async def end(self, limit: float) -> bool:
        """Wait until the process is dead (and not yet reaped), or wrote too much; whether it is so
        within `limit` seconds.

        A loop that was late finds both at once, the end of the command and that of the time: then
        it ended.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit):
                await self._ended.wait()
        return self._ended.is_set()

    def outcome(self) -> tuple[int | None, str]:
        """The exit status and the first line of output, once it is at its end.

        None and the reason where it did not end by itself.
        """
        if self._written > FLOOD:
            return None, f"wrote more than {FLOOD // 1024} KiB"
        # WNOWAIT: as long as the leader is not reaped its process group's number cannot be reused.
        result = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOWAIT)
        assert result is not None
        if result.si_code != os.CLD_EXITED:
            number = result.si_status
            return None, f"ended by signal {number} ({signal.strsignal(number)})"
        return result.si_status, _first_line(self._output)

    async def close(self) -> None:
        """Kill the whole group, whoever is left of it, and reap its leader."""
        self._kill()
        self._loop.remove_reader(self._pipe)
        self._pipe.close()
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(KILL_WAIT):
                    await self._dead.wait()
        finally:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self.process.poll()

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def _on_death(self) -> None:
        self._loop.remove_reader(self._pidfd)  # it stays readable
        self._read()  # what was written just before the end
        self._dead.set()
        self._ended.set()

    def _read(self) -> None:
        if self._pipe.closed:
            return
        try:
            data = os.read(self._pipe.fileno(), 64 * 1024)
        except BlockingIOError:
            return
        self._output += data[: KEPT - len(self._output)]
        self._written += len(data)
        if not data or self._written > FLOOD:
            self._loop.remove_reader(self._pipe)
        if self._written > FLOOD:
            self._ended.set()


def _first_line(output: bytes | bytearray) -> str:
    """The first line that says something, printable, without a plugin's performance data."""
    for line in output.decode("utf-8", "replace").splitlines():
        text = printable(line.partition("|")[0])
        if text:
            return text
    return ""
