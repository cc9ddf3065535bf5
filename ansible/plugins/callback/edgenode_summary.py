"""Says in plain words, at the end, why a run stopped and what that means for the fleet."""

from __future__ import annotations

from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: edgenode_summary
type: aggregate
short_description: why a rolling change stopped, and which nodes it did not reach
description:
  - Prints at the end which node stopped answering or failed, where, and which were not touched.
"""


GATE = "Go on only where the edges before this one are finished"
"""The first task of the role edge, which is not the node's own failure."""


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """Ansible calls the methods `v2_...`."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "edgenode_summary"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._rolling = False
        self._planned: list[str] = []
        self._begun: list[str] = []
        self._stopped: dict[str, tuple[str, bool]] = {}

    def v2_playbook_on_play_start(self, play: Any) -> None:
        """The rolling plays are those with `serial`."""
        self._rolling = bool(play.serial) and play.serial != [0]
        if not self._rolling:
            return
        manager = play.get_variable_manager()
        for host in manager._inventory.get_hosts(play.hosts, ignore_restrictions=True):
            if host.get_name() not in self._planned:
                self._planned.append(host.get_name())

    def v2_runner_on_ok(self, result: Any) -> None:
        """A node that a rolling play has begun with: the one before it was finished."""
        if self._rolling and _is_gate(result._task):
            self._begun.append(result._host.get_name())

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """Where it stopped answering."""
        self._stopped[result._host.get_name()] = (result._task.get_name(), True)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """Where it failed."""
        if not ignore_errors and not _is_gate(result._task):
            self._stopped[result._host.get_name()] = (result._task.get_name(), False)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """The end."""
        failed = {**stats.failures, **stats.dark}
        for host, (task, silent) in self._stopped.items():
            if host not in failed:
                continue
            what = "stopped answering" if silent else "failed"
            self._say(f"{host} {what} at: {task}")
            if host in self._begun:
                self._say(
                    f"{host} may be drained, and is never announced before it was verified. Mend "
                    "it and run again: the run goes on where it stopped"
                )
        untouched = [host for host in self._planned if host not in self._begun]
        if self._begun and untouched and any(host in failed for host in self._begun):
            self._say(f"not touched: {', '.join(untouched)}")

    def _say(self, sentence: str) -> None:
        self._display.display(f"edgenode: {sentence}", color="red")


def _is_gate(task: Any) -> bool:
    return bool(task.get_name().endswith(GATE))
