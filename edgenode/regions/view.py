"""The regions as JSON values, for people and the admin API. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgenode.health.risefall import State
from edgenode.regions.ranking import States, TargetState, region_rtts
from edgenode.regions.registry import Registry, Target


def regions(
    registry: Registry, states: States, order: Sequence[str], now: float
) -> dict[str, dict[str, Any]]:
    """Each region in the given order, with its targets; one pass over thousands of them."""
    rtts = region_rtts(states)
    found: dict[str, dict[str, Any]] = {
        name: {
            "rtt_ms": _milliseconds(rtts.get(name)),
            "soft_limit": registry.regions[name].soft_limit,
            "hard_limit": registry.regions[name].hard_limit,
            "draining": registry.regions[name].draining,
            "targets": {},
        }
        for name in order
    }
    # By worker: whether it answers, on any of its ports.
    answers: dict[str, dict[str, bool]] = {name: {} for name in order}
    for target in registry.targets:
        region, state = found[target.key.region], states[target.key]
        workers, up = answers[target.key.region], state.state is State.UP
        workers[target.key.worker] = up or workers.get(target.key.worker, False)
        region["targets"][f"{target.key.worker}:{target.key.port}"] = _target(target, state, now)
    for name, workers in answers.items():
        found[name] |= {"workers": len(workers), "healthy": sum(workers.values())}
    return found


def _target(target: Target, state: TargetState, now: float) -> dict[str, Any]:
    return {
        "state": state.state.value,
        "rtt_ms": _milliseconds(state.rtt),
        "reason": state.reason,
        "suspect": state.suspect,
        "for": round(now - state.since, 1),
        "address": target.in_table().address,
        "weight": target.weight,
        "soft_limit": target.soft_limit,
        "hard_limit": target.hard_limit,
        "draining": target.draining,
    }


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 2)
