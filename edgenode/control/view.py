"""The node's state as JSON values, for the admin API, the command and the metrics. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgenode import __version__
from edgenode.bgp.levels import Level
from edgenode.bgp.policy import Decision
from edgenode.bgp.standing import Status
from edgenode.config import Config
from edgenode.control.neighbors import Proof
from edgenode.health.risefall import Verdict
from edgenode.health.watch import Counters
from edgenode.state import NODE, Intent, IntentKind, Key
from edgenode.steering.link import SteeringLink

_OF_REGIONS = ("soft_limit", "hard_limit", "draining", "targets")


@dataclass(frozen=True)
class GroupFacts:
    """What is known of one group beside its level and the reasons."""

    since: float | None
    """Wall-clock time since which it is at its level; None: longer than this control runs."""
    penalty: Mapping[str, Any]
    drain: Mapping[str, Any]
    proof: Proof | None


def status(
    config: Config,
    *,
    configuration: Mapping[str, Any],
    levels: Mapping[str, Level],
    decisions: Mapping[str, Decision],
    intents: Mapping[Key, Intent],
    groups: Mapping[str, GroupFacts],
    lost: int,
    bird: Status | None,
    bird_age: float,
    verdicts: Mapping[str, Verdict],
    counters: Mapping[str, Counters],
    regions: Mapping[str, Any],
    services: Sequence[Mapping[str, Any]],
    siblings: Mapping[str, Any],
    mesh: Mapping[str, Any],
    registry: Mapping[str, Any],
    paths: Sequence[Mapping[str, Any]],
    steering: SteeringLink,
    lifeline: bool | None,
    lifeline_silent: float,
    heart: str | None,
) -> dict[str, Any]:
    """Everything that `edgenode status --json` prints."""
    in_force = bird.in_force if bird and bird.connected else {}
    sessions = {session.neighbor: session for session in bird.sessions} if bird else {}
    return {
        "node": config.node.name,
        "version": __version__,
        "configuration": dict(configuration),
        "bird": {
            "connected": bool(bird and bird.connected),
            "version": bird.version if bird else "",
            "problem": bird.problem if bird else "not reached yet",
            "asked_s_ago": round(bird_age, 3) if bird else None,
        },
        "lifeline": {
            "held": bool(lifeline),
            "connected": lifeline is not None,
            # Stopped, it would keep the device when control dies.
            "silent_s": round(lifeline_silent, 3),
            "no_beat": heart,
        },
        "groups": [
            {
                "name": group.name,
                "prefixes": [str(prefix) for prefix in group.prefixes],
                "level": levels[group.name].value,
                # Without the device that its routes hang on a group is not announced.
                "in_force": in_force.get(group.name, False)
                and (
                    bool(lifeline)
                    or group.on_control_loss == "keep"
                    or levels[group.name] is Level.WITHDRAWN
                ),
                "reasons": list(decisions[group.name].reasons),
                "intent": _intent(intents.get((group.name, ""))),
                **_more(group.name, decisions[group.name], groups[group.name]),
            }
            for group in config.groups
        ],
        "intents": [intent_json(intent) for intent in intents.values()],
        "paused": _intent(intents.get((NODE, IntentKind.PAUSED.value))),
        "history": {"lost": lost},
        "neighbors": [
            {
                "name": neighbor.name,
                "address": str(neighbor.address),
                "asn": neighbor.asn,
                "state": session.state if session else "unknown",
                "since": session.since if session else "",
                "info": session.error if session else "",
            }
            for neighbor in config.bgp.neighbors
            for session in [sessions.get(neighbor.name)]
        ],
        "checks": [
            {
                "name": name,
                "state": verdict.state.value,
                "reason": verdict.reason,
                "succeeded": counters[name].succeeded,
                "failed": counters[name].failed,
                "late": counters[name].late,
                "unknown": counters[name].unknown,
                "errors": counters[name].errors,
                "trouble": counters[name].trouble,
                "warning": counters[name].warning,
                "certificate_ends": counters[name].expires_at,
            }
            for name, verdict in verdicts.items()
        ],
        "table_revision": regions["revision"],
        "services": list(services),
        "regions": [
            {
                "name": name,
                "rtt_ms": region["rtt_ms"],
                "workers_up": region["healthy"],
                "workers": region["workers"],
                **{key: region[key] for key in _OF_REGIONS},
            }
            for name, region in regions["regions"].items()
        ],
        "mesh": mesh,
        "registry": registry,
        "siblings": siblings,
        "paths": list(paths),
        "steering": {
            "connected": steering.connected,
            "applied": steering.applied,
            "refusal": steering.refusal,
            "report": steering.report.to_json() if steering.report else None,
        },
    }


def intent_json(intent: Intent) -> dict[str, Any]:
    """An intent, all of it."""
    return {
        "group": intent.group,
        "kind": intent.kind.value,
        "since": intent.since,
        "until": intent.until,
        "reason": intent.reason,
        "author": intent.author,
        "neighbor": intent.neighbor,
    }


def _intent(intent: Intent | None) -> dict[str, Any] | None:
    return None if intent is None else intent_json(intent)


def _more(name: str, decision: Decision, facts: GroupFacts) -> dict[str, Any]:
    proof = facts.proof
    return {
        "since": facts.since,
        "waits": None
        if decision.wanted is None
        else {"for": decision.wanted.value, "s": round(decision.wait, 1)},
        "rules": [standing.value for standing in decision.memory],
        "penalty": facts.penalty,
        "drain": dict(facts.drain),
        "sent": None
        if proof is None
        else {
            "level": proof.level.value,
            "at": proof.at,
            "to": list(proof.sent),
            "not_to": dict(proof.missing),
            "down": list(proof.down),
        },
    }
