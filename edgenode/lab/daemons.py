"""The lab's nodes: their files, namespaces and daemons."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

from edgenode.lab import build, netns, process
from edgenode.lab.errors import LabError
from edgenode.lab.names import RUN_ROOT, check_lab, namespace
from edgenode.lab.nodes import edge
from edgenode.lab.process import Command
from edgenode.lab.python import environment as python_environment
from edgenode.lab.state import Daemon, State
from edgenode.lab.topology import Edge, Topology


class Machines:
    """The part of a lab that knows processes. Methods raise LabError."""

    def __init__(self, name: str, state: State) -> None:
        self.name = check_lab(name)
        self.run_directory = RUN_ROOT / name
        self._state = state
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    @property
    def topology(self) -> Topology:
        return self._state.topology

    @property
    def settings(self) -> edge.Settings:
        return self._state.settings

    def save(self) -> None:
        """Write the state down, for whoever takes the lab over."""
        self._state.save(self.run_directory)

    def directory(self, node: str) -> Path:
        """A node's files: configurations, sockets, logs."""
        return self.run_directory / node

    def namespace(self, node: str) -> str:
        """A node's network namespace."""
        return namespace(self.name, node)

    def inside(self, node: str) -> contextlib.AbstractContextManager[None]:
        """Open sockets inside a node: see `netns.inside`."""
        return netns.inside(self.namespace(node))

    def spawn(
        self,
        node: str,
        daemon: str,
        argv: Iterable[str],
        environment: dict[str, str] | None = None,
        text: str | None = None,
    ) -> None:
        """Start a process of its own session inside a node; its output goes to DAEMON.log."""
        log = self.directory(node) / f"{daemon}.log"
        mark = f"{node}/{daemon}"
        command = Command(tuple(argv), self.namespace(node), mark, log, environment or {})
        self._state.daemons.setdefault(node, {})[daemon] = Daemon(command)
        self._spawn(self._state.daemons[node][daemon], text)

    def _spawn(self, daemon: Daemon, text: str | None = None) -> None:
        child = process.spawn(daemon.command, None if text is None else text.encode())
        daemon.session = child.pid
        self._processes[child.pid] = child

    def check_alive(self) -> None:
        """While the lab is being put up: raise LabError, with its last words, if a daemon ended."""
        if self._state.up:
            return
        for node, daemons in self._state.daemons.items():
            for name, daemon in daemons.items():
                child = self._processes.get(daemon.session or 0)
                if child is not None and child.poll() is not None:
                    log = daemon.command.log
                    words = log.read_text(encoding="utf-8", errors="replace").strip()
                    raise LabError(
                        f"{name} on {node} ended with status {child.returncode}: "
                        f"{words[-500:] or 'it said nothing'}"
                    )

    def daemons(self, node: str) -> tuple[str, ...]:
        """The daemons that were started on a node."""
        return tuple(self._state.daemons.get(node, {}))

    def _daemon(self, node: str, daemon: str) -> Daemon:
        try:
            return self._state.daemons[node][daemon]
        except KeyError:
            known = ", ".join(self.daemons(node)) or "none"
            raise LabError(f"node {node!r} has no daemon {daemon!r}: it has {known}") from None

    def pids(self, node: str, daemon: str) -> list[int]:
        """All living processes of a daemon, the one that the lab started first."""
        found = self._daemon(node, daemon)
        members = process.members(found.command, found.session)
        return sorted(members, key=lambda pid: (pid != found.session, pid))

    def main_pid(self, node: str, daemon: str) -> int:
        """The process that the lab started for a daemon, which must be alive."""
        session = self._daemon(node, daemon).session
        if session is None or session not in self.pids(node, daemon):
            raise LabError(f"{daemon} does not run on {node}")
        return session

    def kill(
        self, node: str, daemon: str, sig: int = signal.SIGKILL, main_only: bool = False
    ) -> float:
        """Signal all processes of a daemon, or its main process alone.

        Returns the UNIX time just before the first signal. After SIGKILL it returns when they
        have ended.
        """
        main = self.main_pid(node, daemon)
        targets = [main] if main_only else self.pids(node, daemon)
        if main_only:
            moment = time.time()
            process.send(targets, sig)
        else:
            moment = process.send_at_once(main, targets, sig)
        if sig == signal.SIGKILL:
            time.sleep(0.05)  # to look for processes is work, and may disturb what is measured
            self._reap(node, daemon, targets if main_only else None)
        return moment

    def _reap(self, node: str, daemon: str, only: list[int] | None) -> None:
        """Wait until processes have ended; kill those that a dying one had just started."""
        deadline = time.monotonic() + 5
        while left := [p for p in self.pids(node, daemon) if only is None or p in only]:
            process.end(left, 5, self.namespace(node))
            if time.monotonic() > deadline:
                raise LabError(f"{daemon} on {node} does not end, even with SIGKILL: {left}")
        session = self._daemon(node, daemon).session
        child = self._processes.pop(session, None) if session is not None else None
        if child is not None:
            child.wait(5)

    def start(self, node: str, daemon: str) -> float:
        """Start a daemon again that has ended; returns the UNIX time just before."""
        found = self._daemon(node, daemon)
        if self.pids(node, daemon):
            raise LabError(f"{daemon} on {node} runs already")
        place = self.topology.node(node)
        moment = time.time()
        if daemon == "bird" and isinstance(place, Edge):
            build.start_bird(self, place)
        else:
            self._spawn(found)
        self.save()
        return moment

    def edgenode(
        self, node: str, *arguments: str, timeout: float = 30.0
    ) -> subprocess.CompletedProcess[str]:
        """Run the `edgenode` command on an edge and return its status and what it said."""
        argv = edge.command_line(self.directory(node) / "edgenode.toml", *arguments)
        with self.inside(node):
            running = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                cwd="/",
                env={**os.environ, **python_environment()},
            )
        try:
            out, err = running.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            running.kill()
            running.communicate()
            raise LabError(f"`edgenode {' '.join(arguments)}` on {node} did not end") from None
        return subprocess.CompletedProcess(argv, running.returncode, out, err)
