"""Hooks: the operators' commands, told of each change of a check or group.

Control runs none of them: it asks exec-runner, behind the decisions' back. To tell a hook is to
put a line on a bounded list; nothing here can hold up a withdraw.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgenode.config import Hook
from edgenode.health.execclient import run_hook, version
from edgenode.health.observation import printable

log = logging.getLogger(__name__)

WAITING = 64
"""Changes that wait for a hook: then the oldest are dropped, for the newest say how it is now."""

TRIES = 3
PAUSE = 1.0
"""Seconds between tries where exec-runner is away, as while it is restarted."""


class Hooks:
    """All hooks of a node. Nothing here raises."""

    def __init__(self, hooks: Sequence[Hook], node: str, runner: Path) -> None:
        """`runner`: exec-runner's socket."""
        self._node = node
        self._runner = runner
        self._lines: dict[str, _Line] = {}
        self._states: dict[tuple[str, str], str] = {}
        self.change(hooks)

    def change(self, hooks: Sequence[Hook]) -> None:
        """Tell these hooks from now on; what waits for those that are gone is dropped."""
        before, self._lines = self._lines, {}
        for hook in hooks:
            line = before.pop(hook.name, None) or _Line(self._runner)
            line.hook = hook
            self._lines[hook.name] = line
        for line in before.values():
            line.close()

    def know(self, kind: str, name: str, state: str) -> None:
        """How something is, where that is no change."""
        self._states[kind, name] = state

    def tell(self, kind: str, name: str, state: str, reason: str) -> None:
        """Something changed: "check" or "group", its name, its state now, and why. At once back."""
        previous = self._states.get((kind, name), "withdrawn" if kind == "group" else "unknown")
        self._states[kind, name] = state
        if previous == state:
            return
        facts = {
            "node": self._node,
            "kind": kind,
            "name": name,
            "state": state,
            "previous": previous,
            "reason": printable(reason),
            "time": f"{time.time():.3f}",
        }
        for line in self._lines.values():
            if kind in line.hook.on and (not line.hook.only or name in line.hook.only):
                line.put(facts)

    def close(self) -> None:
        """End what runs, and drop what waits."""
        for line in self._lines.values():
            line.close()


class _Line:
    """What waits for one hook; a task is there while something does."""

    hook: Hook

    def __init__(self, runner: Path) -> None:
        self._runner = runner
        self._waiting: deque[Mapping[str, str]] = deque(maxlen=WAITING)
        self._task: asyncio.Task[None] | None = None
        self._dropped = 0
        self._trouble = ""

    def put(self, facts: Mapping[str, str]) -> None:
        if len(self._waiting) == WAITING:
            self._dropped += 1
            if self._dropped == 1:
                log.warning("hook %s: too many changes wait, the oldest are dropped", self._name)
        self._waiting.append(facts)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), name=self._name)

    def close(self) -> None:
        self._waiting.clear()
        if self._task is not None:
            self._task.cancel()

    @property
    def _name(self) -> str:
        return self.hook.name

    async def _run(self) -> None:
        try:
            while self._waiting:
                trouble = await self._tell(self._waiting.popleft())
                if trouble and not self._trouble:
                    log.warning("hook %s: %s", self._name, trouble)
                elif self._trouble and not trouble:
                    log.info("hook %s: works again", self._name)
                self._trouble = trouble
            if self._dropped:
                log.warning("hook %s: %d changes were dropped", self._name, self._dropped)
                self._dropped = 0
        finally:
            self._task = None

    async def _tell(self, facts: Mapping[str, str]) -> str:
        """Why it failed; empty: it did not."""
        for attempt in range(TRIES):
            await asyncio.sleep(PAUSE if attempt else 0)
            try:
                seen = await run_hook(
                    self._runner, self._name, facts, self.hook.timeout, version(self.hook)
                )
            except OSError as error:
                trouble = str(error)
            except Exception as error:
                log.exception("hook %s", self._name)
                return f"{type(error).__name__}, see the log"
            else:
                return "" if seen.ok else seen.reason
        return trouble
