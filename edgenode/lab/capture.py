"""Capturing what passes a namespace, with tcpdump."""

from __future__ import annotations

import contextlib
import signal
import subprocess
from pathlib import Path

from edgenode.lab.errors import LabError
from edgenode.lab.process import Command, spawn
from edgenode.lab.waiting import wait_until


class Capture:
    """A running tcpdump; `stop` it before the file is read."""

    def __init__(self, namespace: str, path: Path, expression: str = "") -> None:
        """Start, and return once packets are really being captured: all interfaces, whole packets.

        Raises LabError when tcpdump does not start.
        """
        self.path = path
        log = path.with_suffix(".log")
        path.parent.mkdir(parents=True, exist_ok=True)
        log.unlink(missing_ok=True)
        options = ("-i", "any", "-y", "LINUX_SLL2", "--immediate-mode", "-U", "-n", "-Z", "root")
        argv = ("tcpdump", *options, "-s", "0", "-B", "16384", "-w", str(path), *expression.split())
        self.process = spawn(Command(argv, namespace, f"capture/{path.stem}", log, {}))

        def listening() -> bool:
            return b"listening on" in log.read_bytes() or self.process.poll() is not None

        try:
            wait_until(listening, 10, f"tcpdump in {namespace} captures")
        except LabError:
            self.stop()
            raise
        if self.process.poll() is not None:
            said = " ".join(log.read_text(errors="replace").split())
            raise LabError(f"tcpdump in {namespace} did not start: {said}")
        log.unlink(missing_ok=True)

    def stop(self) -> Path:
        """End the capture; the file is complete afterwards."""
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        return self.path
