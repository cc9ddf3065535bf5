"""Asks `edgenode exec-runner`, which runs what control does not: checks' commands, and hooks'."""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
from collections.abc import Mapping
from pathlib import Path

from edgenode.config import ExecCheck, Hook
from edgenode.health.observation import Observation

MARGIN = 2.0
"""Seconds that the runner gets beyond the command's own timeout, to kill it and to answer."""

ANSWER_BYTES = 16 * 1024

FACTS = ("node", "kind", "name", "state", "previous", "reason", "time")
"""What a hook is told, as EDGENODE_NODE and so on in its environment."""


def version(of: ExecCheck | Hook) -> str:
    """Tells apart what a check or hook of one name has been, from one text to the next."""
    meant: list[object] = [list(of.command), of.timeout]
    if isinstance(of, ExecCheck):
        meant += [of.on_warning, of.on_unknown]
    return hashlib.sha256(json.dumps(meant).encode()).hexdigest()[:16]


class RunnerProbe:
    """EXEC probe: a check's command, by the check's name."""

    def __init__(self, runner: Path, check: str, timeout: float, version: str = "") -> None:
        """`version`: the one that is meant, while exec-runner knows it; absent: the present one."""
        self._runner = runner
        self._question = f"{check}\0{version}" if version else check  # no name has a NUL
        self._timeout = timeout

    async def __call__(self) -> Observation:
        """Probe once. Raises OSError where the runner is away, hangs or cannot run the check.

        That says nothing about the target: the check's state stays as it is, until it was not
        seen for too long (control/heart).
        """
        return await _ask(self._runner, self._question.encode(), self._timeout)


async def run_hook(
    runner: Path, hook: str, facts: Mapping[str, str], timeout: float, version: str = ""
) -> Observation:
    """A hook's command, by the hook's name; `ok` is whether it ended with 0. `version`: as of a
    check.

    Raises OSError where the runner is away, hangs or cannot run it.
    """
    message = json.dumps({"hook": hook, "version": version, "facts": facts}).encode()
    return await _ask(runner, message, timeout)


async def _ask(runner: Path, message: bytes, timeout: float) -> Observation:
    """Over a connection of its own: closing it ends the run."""
    loop = asyncio.get_running_loop()
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asked:
            asked.setblocking(False)
            async with asyncio.timeout(timeout + MARGIN):
                await loop.sock_connect(asked, str(runner))
                await loop.sock_sendall(asked, message)
                raw = await loop.sock_recv(asked, ANSWER_BYTES)
    except TimeoutError:
        raise OSError("edgenode exec-runner does not answer: restart it") from None
    except (ConnectionError, FileNotFoundError, BlockingIOError) as error:
        raise OSError(
            f"edgenode exec-runner is away ({error.strerror}): start it ({runner})"
        ) from None
    if not raw:
        raise OSError("edgenode exec-runner ended in the middle of a command")
    try:
        answer = json.loads(raw)
        if "error" in answer:
            raise OSError(f"edgenode exec-runner: {answer['error']}")
        return Observation(
            bool(answer["ok"]),
            str(answer["reason"]),
            float(answer["duration"]),
            bool(answer["timed"]),
            # A runner that is older than we are has neither.
            warning=str(answer.get("warning", "")),
            known=bool(answer.get("known", True)),
        )
    except (ValueError, KeyError, TypeError):
        raise OSError("edgenode exec-runner answers in another language") from None
