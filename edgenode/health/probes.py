"""From a check of the configuration to its probe and its tripwire's target."""

from __future__ import annotations

from pathlib import Path

from edgenode.config import Check, Endpoint, HttpCheck, TcpCheck
from edgenode.health.exec import ExecProbe
from edgenode.health.execclient import RunnerProbe
from edgenode.health.http import HttpProbe
from edgenode.health.observation import Probe
from edgenode.health.tcp import TcpProbe


def probe_of(check: Check, runner: Path | None) -> Probe:
    """What one poll of this check does. `runner`: the socket of the one that runs exec checks;
    None: they are run here."""
    if isinstance(check, TcpCheck):
        return TcpProbe(check.target, check.timeout)
    if isinstance(check, HttpCheck):
        return HttpProbe(check.url, check.host, check.status, check.timeout)
    if runner is not None:
        return RunnerProbe(runner, check.name, check.timeout)
    return ExecProbe(check.command, check.timeout)


def endpoint_of(check: TcpCheck | HttpCheck) -> Endpoint:
    """Where this check connects to, and its tripwire is held."""
    return check.target if isinstance(check, TcpCheck) else check.url.endpoint
