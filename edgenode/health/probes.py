"""From a check of the configuration to its probe and its tripwire's target."""

from __future__ import annotations

from pathlib import Path

from edgenode.config import Check, DnsCheck, ExecCheck, HttpCheck, TcpCheck, TlsCheck
from edgenode.health.dns import DnsProbe
from edgenode.health.execclient import RunnerProbe, version
from edgenode.health.http import HttpProbe, target_of
from edgenode.health.observation import Probe
from edgenode.health.sockets import Target
from edgenode.health.tcp import TcpProbe
from edgenode.health.tlsprobe import TlsProbe


def probe_of(check: Check, runner: Path) -> Probe:
    """What one poll of this check does. `runner`: the socket of the one that runs exec checks."""
    match check:
        case TcpCheck():
            return TcpProbe(check.target, check.timeout)
        case TlsCheck():
            return TlsProbe(check)
        case HttpCheck():
            return HttpProbe(check)
        case DnsCheck():
            return DnsProbe(check)
        case ExecCheck():
            return RunnerProbe(runner, check.name, check.timeout, version(check))


def tripwire_target(check: Check) -> Target | None:
    """Where this check's tripwire is held; None: it has none."""
    if isinstance(check, ExecCheck) or not check.tripwire:
        return None
    return target_of(check) if isinstance(check, HttpCheck) else check.target
