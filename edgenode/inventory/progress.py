"""How far a node is on the way drain → change → verify → undrain, from `status --json`. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

REASON = "changed by the playbook"
"""Of our drains: a run that was cut off is known by it, and an operator's drain left alone."""


@dataclass(frozen=True)
class Expected:
    """What has to be as it was, once a node is changed."""

    announced: tuple[str, ...] = ()
    """Groups, those included that a run before this one drained and did not come back to."""
    left_drained: tuple[str, ...] = ()
    """Groups of these that such a run drained."""
    sessions: tuple[str, ...] = ()
    """Neighbors with a session."""


def expected(status: Mapping[str, Any] | None) -> Expected:
    """From the status before the change; None: control does not answer, or is not there yet."""
    if status is None:
        return Expected()
    left = tuple(group["name"] for group in status["groups"] if _is_ours(group))
    announced = tuple(
        group["name"]
        for group in status["groups"]
        if group["name"] in left or (group["level"] == "normal" and group["in_force"])
    )
    sessions = tuple(n["name"] for n in status["neighbors"] if n["state"] == "Established")
    return Expected(announced, left, sessions)


Phase = Literal["drained", "changed", "announced"]


def unmet(
    phase: Phase, want: Expected, status: Mapping[str, Any] | None, removed: tuple[str, ...] = ()
) -> list[str]:
    """What still lacks for a phase to be over, in sentences; empty: it is.

    `removed` are groups and neighbors that the new configuration has no more.
    """
    if status is None:
        return ["control does not answer"]
    check = {"drained": _drained, "changed": _changed, "announced": _announced}[phase]
    return list(check(want, status, removed))


def _drained(want: Expected, status: Mapping[str, Any], removed: tuple[str, ...]) -> Iterator[str]:
    for group in status["groups"]:
        if group["name"] in want.announced and not (
            group["level"] == "withdrawn" and group["in_force"]
        ):
            yield f"group {group['name']} is {group['level']}, not withdrawn yet"


def _changed(want: Expected, status: Mapping[str, Any], removed: tuple[str, ...]) -> Iterator[str]:
    # An edgenode from before has not this key. Control may run with an older text than the file's.
    if problem := status.get("configuration", {}).get("problem"):
        yield f"configuration: {problem}"
    if not status["bird"]["connected"]:
        yield f"BIRD is away ({status['bird']['problem']})"
    elif status["bird"]["problem"]:
        yield f"BIRD: {status['bird']['problem']}"
    if status["mesh"]["problem"]:
        yield f"mesh: {status['mesh']['problem']}"
    if not status["lifeline"]["connected"]:
        yield "the lifeline is away"
    if status["services"] and not status["steering"]["connected"]:
        yield "steering is away"
    if refusal := status["steering"]["refusal"]:
        yield f"steering refuses the table: {refusal}"
    states = {n["name"]: (n["state"], n["info"]) for n in status["neighbors"]}
    for name in want.sessions:
        state, info = states.get(name, ("gone", ""))
        if name not in removed and state != "Established":
            yield f"the session with {name} is {state}{f' ({info})' if info else ''}"


def _announced(
    want: Expected, status: Mapping[str, Any], removed: tuple[str, ...]
) -> Iterator[str]:
    yield from _changed(want, status, removed)
    groups = {group["name"]: group for group in status["groups"]}
    for name in want.announced:
        group = groups.get(name)
        if name in removed:
            continue
        if group is None:
            yield f"group {name} is unknown to control"
        elif not (group["level"] == "normal" and group["in_force"]):
            reasons = "; ".join(group["reasons"])
            yield f"group {name} was announced, and is {group['level']} now ({reasons})"


def _is_ours(group: Mapping[str, Any]) -> bool:
    intent = group["intent"]
    return bool(intent) and intent["kind"] == "drained" and intent["reason"] == REASON
