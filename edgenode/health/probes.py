"""From a check of the configuration to its probe and its tripwire's target."""

from __future__ import annotations

from pathlib import Path

from edgenode.config import Check, Endpoint, HttpCheck, TcpCheck
from edgenode.health.execclient import RunnerProbe
from edgenode.health.http import HttpProbe
from edgenode.health.observation import Probe
from edgenode.health.tcp import TcpProbe


def probe_of(check: Check, runner: Path) -> Probe:
    """What one poll of this check does. `runner`: the socket of the one that runs exec checks."""
    if isinstance(check, TcpCheck):
        return TcpProbe(check.target, check.timeout)
    if isinstance(check, HttpCheck):
        return HttpProbe(check.url, check.host, check.status, check.timeout)
    return RunnerProbe(runner, check.name, check.timeout)


def endpoint_of(check: TcpCheck | HttpCheck) -> Endpoint:
    """Where this check connects to, and its tripwire is held."""
    return check.target if isinstance(check, TcpCheck) else check.url.endpoint
