"""Commands for a runner of a test's own."""

from __future__ import annotations

from collections.abc import Mapping

from edgenode.health.exec import ExecProbe


class Fixed:
    """These checks, and hooks that run a command for 5 s at most."""

    def __init__(
        self, checks: Mapping[str, ExecProbe], hooks: Mapping[str, list[str]] | None = None
    ) -> None:
        self._checks = checks
        self._hooks = hooks or {}

    def probe(self, name: str, version: str = "") -> ExecProbe | None:
        return self._checks.get(name)

    def hook(
        self, name: str, environment: Mapping[str, str], version: str = ""
    ) -> ExecProbe | None:
        if (command := self._hooks.get(name)) is None:
            return None
        return ExecProbe(command, 5.0, warning_is_up=False, environment=environment)
