"""Why a group is at its level, and what would change that: `edgenode why`. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from edgenode.bgp.lastsite import Judgement
from edgenode.bgp.rules import marks, rules_of
from edgenode.config import Config, Group
from edgenode.control.neighbors import Proof


def explanation(
    config: Config,
    status: Mapping[str, Any],
    name: str,
    proof: Proof,
    others: Mapping[str, Judgement],
) -> dict[str, Any]:
    """All that `edgenode why --json` prints: `status` is the node's."""
    group = next(each for each in config.groups if each.name == name)
    shown: dict[str, Any] = next(each for each in status["groups"] if each["name"] == name)
    services = {service.name for service in config.services_of(name)}
    checks = config.checks_of(name)
    return {
        "node": status["node"],
        "group": shown,
        "bird": status["bird"],
        "lifeline": status["lifeline"],
        "paused": status["paused"],
        "intents": [each for each in status["intents"] if each["group"] in (name, "*")],
        "rules": _rules(group, shown, status),
        "checks": [check for check in status["checks"] if check["name"] in checks],
        "services": [each for each in status["services"] if each["name"] in services],
        "regions_required": group.regions_required if services else None,
        "regions": status["regions"] if services else [],
        "siblings": _siblings(status["siblings"], services) if services else None,
        "neighbors": _neighbors(status, group, proof),
        "other_sites": [
            {"prefix": prefix, "outlook": known.outlook.value, "text": known.text}
            for prefix, known in others.items()
        ],
        "hold_down": group.hold_down,
    }


def _siblings(siblings: Mapping[str, Any], services: Collection[str]) -> dict[str, Any]:
    return {
        "edges": [
            {
                "name": edge["name"],
                "fresh": edge["fresh"],
                "services": {
                    name: said["reachable"]
                    for name, said in edge["services"].items()
                    if name in services
                },
            }
            for edge in siblings["edges"]
        ],
        "conflicts": siblings["conflicts"],
        "stale": siblings["stale"],
    }


def _rules(
    group: Group, shown: Mapping[str, Any], status: Mapping[str, Any]
) -> list[dict[str, Any]]:
    states = {check["name"]: check["state"] for check in status["checks"]}
    rules = rules_of(group)
    standings = (*shown["rules"], *("open" for _ in rules))
    return [
        {
            "checks": {name: states.get(name, "unknown") for name in rule.checks},
            "need": rule.need,
            "low": marks(rule)[0],
            "high": marks(rule)[1],
            "level": rule.level,
            "standing": standing,
        }
        for rule, standing in zip(rules, standings, strict=False)
    ]


def _neighbors(status: Mapping[str, Any], group: Group, proof: Proof) -> list[dict[str, Any]]:
    families = {f"{prefix.version}" for prefix in group.prefixes}
    return [
        {
            "name": neighbor["name"],
            "state": neighbor["state"],
            "since": neighbor["since"],
            "as_told": neighbor["name"] in proof.sent,
            "problem": proof.missing.get(neighbor["name"], ""),
        }
        for neighbor in status["neighbors"]
        if ("6" if ":" in neighbor["address"] else "4") in families
    ]
