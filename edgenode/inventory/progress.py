"""How far a node is on the way drain → change → verify → undrain, from `status --json`. Pure."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

REASON = "changed by the playbook"
"""Of our drains: a run that was cut off is known by it, and an operator's drain left alone."""


@dataclass(frozen=True)
class Expected:
    """What has to be on a node, once it is changed."""

    settled: bool
    """Nothing is left of a run before this one: what is down now is none of its faults."""
    announced: tuple[str, ...] = ()
    """Groups, those included that a run before this one drained and did not come back to."""
    left_drained: tuple[str, ...] = ()
    """Groups of these that such a run drained."""
    again: tuple[str, ...] = ()
    """Groups of these that the new configuration still has."""
    sessions: tuple[str, ...] = ()
    """Neighbors that must have a session."""
    release: str = ""
    """That steering must serve; empty: whichever."""


def answered(text: str) -> Any:
    """The status that `edgenode status --json` printed.

    None: control does not answer, of which that is an error, or edgenode is not there yet.
    """
    try:
        answer = json.loads(text)
    except ValueError:
        return None
    return None if "error" in answer else answer


def expected(
    status: Mapping[str, Any] | None,
    text: str,
    known_down: Sequence[str] = (),
    cut_off: bool = False,
    release: str = "",
) -> Expected:
    """From the status before the change and the new edgenode.toml.

    None: control does not answer, or is not there yet. `known_down` are neighbors that an operator
    goes on without; `cut_off`: a run before this one left its note. After such a run, as on a new
    node, every neighbor must be up: the session that it broke would else be none that was there.
    `release` is that of steering, where it is known.
    """
    document = tomllib.loads(text)
    neighbors = [neighbor["name"] for neighbor in document["bgp"]["neighbors"]]
    groups = {group["name"] for group in document["groups"]}
    left = left_drained(status)
    settled = status is not None and not left and not cut_off
    announced = tuple(
        group["name"]
        for group in (status["groups"] if status else ())
        if group["name"] in left or (group["level"] == "normal" and group["in_force"])
    )
    excused = {*known_down}
    if status is not None and settled:
        excused |= {n["name"] for n in status["neighbors"] if n["state"] != "Established"}
    return Expected(
        settled,
        announced,
        left,
        tuple(name for name in announced if name in groups),
        tuple(name for name in neighbors if name not in excused),
        release,
    )


def left_drained(status: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Groups that are drained by the playbook."""
    return tuple(group["name"] for group in (status["groups"] if status else ()) if _is_ours(group))


@dataclass(frozen=True)
class Waiting:
    """Groups that nothing keeps from being announced but time: `damping` or `hold_down`."""

    seconds: float
    """Until the last of them is announced."""
    why: tuple[str, ...]
    """A sentence for each."""


def waiting(want: Expected, status: Mapping[str, Any] | None) -> Waiting:
    """What the node itself says how long it waits, and for what. An upstream would hide a prefix
    that comes and goes as often as a playbook is run, for longer than that."""
    found = [
        group
        for group in (status["groups"] if status else ())
        if group["name"] in want.again and group.get("waits")
    ]
    return Waiting(
        max((group["waits"]["s"] for group in found), default=0.0),
        tuple(f"group {group['name']} {group['reasons'][0]}" for group in found),
    )


Phase = Literal["drained", "changed", "released", "announced"]


def unmet(phase: Phase, want: Expected, status: Mapping[str, Any] | None) -> list[str]:
    """What still lacks for a phase to be over, in sentences; empty: it is."""
    if status is None:
        return ["control does not answer"]
    phases = {
        "drained": _drained,
        "changed": _changed,
        "released": _released,
        "announced": _announced,
    }
    return list(phases[phase](want, status))


def _drained(want: Expected, status: Mapping[str, Any]) -> Iterator[str]:
    for group in status["groups"]:
        if group["name"] in want.announced and not (
            group["level"] == "withdrawn" and group["in_force"]
        ):
            yield f"group {group['name']} is {group['level']}, not withdrawn yet"


def _changed(want: Expected, status: Mapping[str, Any]) -> Iterator[str]:
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
    elif want.release and status["services"]:
        # An edgenode from before does not tell.
        serves = (status["steering"]["report"] or {}).get("release") or "has not told its release"
        if serves != want.release:
            yield f"the steering that serves users is not {want.release} ({serves})"
    if refusal := status["steering"]["refusal"]:
        yield f"steering refuses the table: {refusal}"
    states = {n["name"]: (n["state"], n["info"]) for n in status["neighbors"]}
    for name in want.sessions:
        state, info = states.get(name, ("gone", ""))
        if state != "Established":
            yield f"the session with {name} is {state}{f' ({info})' if info else ''}"


def _released(want: Expected, status: Mapping[str, Any]) -> Iterator[str]:
    """But for those that wait."""
    left = [group for group in status["groups"] if not group.get("waits")]
    waits = {group["name"] for group in status["groups"]} - {group["name"] for group in left}
    again = tuple(name for name in want.again if name not in waits)
    yield from _announced(replace(want, again=again), {**status, "groups": left})


def _announced(want: Expected, status: Mapping[str, Any]) -> Iterator[str]:
    yield from _changed(want, status)
    groups = {group["name"]: group for group in status["groups"]}
    for name in want.again:
        group = groups.get(name)
        if group is None:
            yield f"group {name} is unknown to control"
        elif not (group["level"] == "normal" and group["in_force"]):
            reasons = "; ".join(group["reasons"])
            yield f"group {name} was announced, and is {group['level']} now ({reasons})"


def _is_ours(group: Mapping[str, Any]) -> bool:
    intent = group["intent"]
    return bool(intent) and intent["kind"] == "drained" and intent["reason"] == REASON
