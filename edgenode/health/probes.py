"""From a check of the configuration to its probe and its tripwire's target."""

from __future__ import annotations

from edgenode.config import Check, Endpoint, HttpCheck, TcpCheck
from edgenode.health.exec import ExecProbe
from edgenode.health.http import HttpProbe
from edgenode.health.observation import Probe
from edgenode.health.tcp import TcpProbe


def probe_of(check: Check) -> Probe:
    """What one poll of this check does."""
    if isinstance(check, TcpCheck):
        return TcpProbe(check.target, check.timeout)
    if isinstance(check, HttpCheck):
        return HttpProbe(check.url, check.host, check.status, check.timeout)
    return ExecProbe(check.command, check.timeout)


def tripwire_target(check: Check) -> Endpoint | None:
    """Where this check's tripwire is held; None where it has none."""
    if isinstance(check, TcpCheck) and check.tripwire:
        return check.target
    if isinstance(check, HttpCheck) and check.tripwire:
        return check.url.endpoint
    return None
