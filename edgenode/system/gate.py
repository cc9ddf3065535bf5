"""Whether a version that came up may stay: it must do what the one before it did. Pure.

Asked for is only what worked before the update. What may fail without any fault of the version's
rolls nothing back: a BGP session that is down, regions that do not answer while the mesh works,
what operators withdrew, a route that waits for damping. What is not known is not good *yet*.

| of the record | is well when |
|---|---|
| a unit that was active | it is active, and has not started anew since the last look |
| a network card | it is there, by its address |
| a group that was announced | it is, or control has a reason of the world's or an operator's |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

UNITS = (
    "ssh.service",
    "systemd-networkd.service",
    "edgenode-firewall.service",
    "edgenode-mesh.service",
    "edgenode-exec.service",
    "edgenode-steering.service",
    "edgenode-lifeline.service",
    "edgenode-control.service",
    "bird.service",
)
"""What an edge node consists of."""

_OUTSIDE = ("region", "everywhere", "none-known")
_ANNOUNCED = ("normal", "degraded")
_HOLDING = ("drained", "maintenance", "withdrawn", "paused")


@dataclass(frozen=True)
class Record:
    """What worked."""

    units: tuple[str, ...]
    cards: tuple[str, ...] = ()
    """Hardware addresses."""
    groups: tuple[str, ...] = ()
    sessions: bool = False
    """A neighbor's session was up."""


@dataclass(frozen=True)
class Seen:
    """One look at the node."""

    units: Mapping[str, str]
    """Of those that are active: what tells one start from the next."""
    cards: tuple[str, ...]
    status: Mapping[str, Any] | None
    """Control's; None: it did not answer."""


def working(seen: Seen) -> Record:
    """What is to work after an update as it does now."""
    status = seen.status or {}
    return Record(
        units=tuple(unit for unit in UNITS if unit in seen.units),
        cards=seen.cards,
        groups=tuple(
            group["name"]
            for group in status.get("groups", ())
            if group["level"] in _ANNOUNCED and group["in_force"]
        ),
        sessions=_sessions(status),
    )


def missing(record: Record, seen: Seen) -> list[str]:
    """What worked and does not, in words; empty: all is well."""
    found = [f"{unit} is not active" for unit in record.units if unit not in seen.units]
    found += [
        f"network card {card} is not there" for card in record.cards if card not in seen.cards
    ]
    if not record.groups:
        return found
    if seen.status is None:
        return [*found, "control does not answer"]
    groups = {group["name"]: group for group in seen.status["groups"]}
    for name in record.groups:
        if (group := groups.get(name)) is not None and (why := _fault(group, record, seen.status)):
            found.append(f"group {name} is {group['level']}: {why}")
    return found


def _fault(group: Mapping[str, Any], record: Record, status: Mapping[str, Any]) -> str:
    """Why a group that was announced is not, where that may be the version's fault."""
    if group["level"] in _ANNOUNCED:
        return "" if group["in_force"] else "BIRD has not done it"
    waits = group.get("waits")
    if waits is not None and waits["for"] in _ANNOUNCED:
        return ""
    if any(
        intent["group"] in (group["name"], "*") and intent["kind"] in _HOLDING
        for intent in status.get("intents", ())
    ):
        return ""
    outside = list(_OUTSIDE)
    if record.sessions and not _sessions(status):
        # No neighbor is reached, either: the world is away, and not the tunnel alone.
        outside.append("my-tunnel")
    excuses = [
        f"service {service['name']} ({service['cause']})"
        for service in status.get("services", ())
        if service["cause"] in outside
    ]
    against = [
        reason for reason in group["reasons"] if not any(reason.startswith(e) for e in excuses)
    ]
    return "; ".join(against) or ("" if group["reasons"] else "no reason is known")


def _sessions(status: Mapping[str, Any]) -> bool:
    return any(each["state"] == "Established" for each in status.get("neighbors", ()))


@dataclass(frozen=True)
class Verdict:
    """Of a look: whether the version stays (True), goes (False), or is looked at again (None)."""

    stays: bool | None
    missing: Sequence[str]


class Gate:
    """The looks at one version; times are monotonic seconds."""

    def __init__(self, record: Record, began: float, within: float, hold: float) -> None:
        """All must be well for `hold` in a row, and that before `within` is over."""
        self._record = record
        self._deadline = began + within
        self._hold = hold
        self._since: float | None = None
        self._units: Mapping[str, str] = {}

    def look(self, seen: Seen, now: float) -> Verdict:
        """What follows from a look."""
        faults = missing(self._record, seen)
        units = {unit: seen.units[unit] for unit in self._record.units if unit in seen.units}
        if self._since is not None and units != self._units:
            # It is up whenever it is looked at, and crashes in between.
            faults = faults or [
                f"{unit} started anew"
                for unit in units
                if self._units.get(unit) not in (None, units[unit])
            ]
            self._since = None
        self._units = units
        if faults:
            self._since = None
        elif self._since is None:
            self._since = now
        if self._since is not None and now - self._since >= self._hold:
            return Verdict(True, ())
        if now >= self._deadline and self._since is None:
            return Verdict(False, faults)
        if now >= self._deadline + self._hold:
            return Verdict(False, faults or ["it was never well for long enough"])
        return Verdict(None, faults)
