"""EXEC probe in another process: asks `edgenode exec-runner` for a check by its name."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path

from edgenode.health.observation import Observation

MARGIN = 2.0
"""Seconds that the runner gets beyond the command's own timeout, to kill it and to answer."""

ANSWER_BYTES = 8192


class RunnerProbe:
    """Asks over a connection of its own for each run: closing it ends the run."""

    def __init__(self, runner: Path, check: str, timeout: float) -> None:
        self._runner = runner
        self._check = check
        self._timeout = timeout

    async def __call__(self) -> Observation:
        """Probe once. Raises OSError where the runner is away, hangs or cannot run the check.

        That says nothing about the target: the check's state stays as it is, and a control that
        stays blind stops its heart (control/heart).
        """
        loop = asyncio.get_running_loop()
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asked:
                asked.setblocking(False)
                async with asyncio.timeout(self._timeout + MARGIN):
                    await loop.sock_connect(asked, str(self._runner))
                    await loop.sock_sendall(asked, self._check.encode())
                    raw = await loop.sock_recv(asked, ANSWER_BYTES)
        except TimeoutError:
            raise OSError("edgenode exec-runner does not answer: restart it") from None
        except (ConnectionError, FileNotFoundError, BlockingIOError) as error:
            raise OSError(
                f"edgenode exec-runner is away ({error.strerror}): start it ({self._runner})"
            ) from None
        if not raw:
            raise OSError("edgenode exec-runner ended in the middle of the check")
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
