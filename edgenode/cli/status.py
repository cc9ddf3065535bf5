"""`edgenode status`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import typer
from rich.text import Text

from edgenode import places
from edgenode.cli.known import Known, know
from edgenode.cli.meshview import bad_paths
from edgenode.cli.options import AsJson, ConfigPath, console, fail, show
from edgenode.cli.regionview import registry_notes, set_aside
from edgenode.cli.tables import coloured, row, table, yes
from edgenode.cli.times import shown

LIFELINE_AWAY = (
    "the lifeline is away: start edgenode lifeline; "
    'until then only groups with on_control_loss = "keep" are announced'
)


def add_to(app: typer.Typer) -> None:
    """Register the subcommands."""
    app.command(rich_help_panel="Looking")(status)


def ask(node: Known) -> dict[str, Any]:
    """The node's status from control, or one clear sentence."""
    from edgenode.api.client import ApiError, ControlAway, call

    try:
        answer: dict[str, Any] = call(places.control_socket(node.run_dir), "GET", "/v1/status")
    except (ApiError, ControlAway) as error:
        fail(str(error))
    return answer


def status(context: typer.Context, config: ConfigPath = None, as_json: AsJson = False) -> None:
    """What is announced and why, and the health of all that it hangs on.

    Exit status 1 where control does not answer.
    """
    answer = ask(know(context, config))
    show(answer, as_json, lambda: _print(answer))


def _print(answer: Mapping[str, Any]) -> None:
    bird, lifeline, steering = answer["bird"], answer["lifeline"], answer["steering"]
    console.print(
        Text.assemble(
            (answer["node"], "bold"),
            f"  BIRD {bird['version'] or '?'} ",
            yes(bird["connected"], "connected", "away"),
            ", lifeline ",
            yes(lifeline["held"], "held", "released" if lifeline["connected"] else "away"),
            ", steering ",
            yes(steering["connected"], "connected", "away"),
            _release(answer),
        )
    )
    if pause := answer.get("paused"):
        console.print(Text(f"PAUSED {told(pause)}: nothing moves by itself", "bold red"))
    for problem in _problems(answer):
        console.print(Text(f"! {problem}", "red"))
    groups = table("GROUP", "LEVEL", "IN FORCE", "PREFIXES", "WHY")
    for group in answer["groups"]:
        row(
            groups,
            group["name"],
            coloured(group["level"]),
            yes(group["in_force"], "yes", "not yet"),
            " ".join(group["prefixes"]),
            "; ".join([*group["reasons"], *unproven(group)]),
        )
    console.print(groups)
    _print_intents(answer.get("intents", []))
    neighbors = table("NEIGHBOR", "STATE", "ADDRESS", "SINCE", "NOTE")
    for neighbor in answer["neighbors"]:
        row(
            neighbors,
            neighbor["name"],
            coloured(neighbor["state"]),
            neighbor["address"],
            neighbor["since"],
            neighbor["info"],
        )
    console.print(neighbors)
    checks = table("CHECK", "STATE", "LAST ANSWER")
    for check in answer["checks"]:
        row(checks, check["name"], coloured(check["state"]), check["reason"])
    console.print(checks)
    if answer["regions"]:
        regions = table("REGION", "ROUND-TRIP", "WORKERS UP")
        for region in answer["regions"]:
            rtt = region["rtt_ms"]
            row(
                regions,
                region["name"],
                "?" if rtt is None else f"{rtt:.1f} ms",
                f"{region['workers_up']} of {region['workers']}",
            )
        console.print(regions)
    if answer["mesh"]["peers"]:
        peers = table("MESH PEER", "HANDSHAKE", "ENDPOINT")
        for peer in answer["mesh"]["peers"]:
            age = peer["handshake_age"]
            shown = "never" if age is None else f"{age:.0f} s ago"
            row(peers, peer["name"], shown, peer["endpoint"] or "")
        console.print(peers)


def _release(answer: Mapping[str, Any]) -> str:
    """Which release serves users."""
    steering = answer["steering"]
    release = (steering["report"] or {}).get("release")
    return f" ({release})" if release and steering["connected"] else ""


def told(intent: Mapping[str, Any]) -> str:
    """By whom, since when, until when and why something is wanted."""
    text = f"by {intent['author'] or '?'} since {shown(intent['since'])}"
    if intent["until"] is not None:
        text += f" until {shown(intent['until'])}"
    return text + (f" ({intent['reason']})" if intent["reason"] else "")


def unproven(group: Mapping[str, Any]) -> list[str]:
    """What became of telling the neighbors, where that matters: while users are moved away."""
    if group["level"] not in ("degraded", "drained") or not (sent := group.get("sent")):
        return []
    to = [f"sent to {', '.join(sent['to'])}"] if sent["to"] else []
    return to + [f"NOT SENT to {name}: {why}" for name, why in sent["not_to"].items()]


def _print_intents(intents: Sequence[Mapping[str, Any]]) -> None:
    if not intents:
        return
    wanted = table("INTENT", "OF", "TOWARDS", "BY, SINCE, UNTIL")
    for intent in intents:
        of = "the node" if intent["group"] == "*" else intent["group"]
        row(wanted, intent["kind"], of, intent["neighbor"] or "all", told(intent))
    console.print(wanted)


def _problems(answer: Mapping[str, Any]) -> list[str]:
    """What is wrong beyond the tables, in sentences."""
    steering, lifeline = answer["steering"], answer["lifeline"]
    report = steering["report"] or {}
    relays = report.get("relays", [])
    hung = sum(not relay["healthy"] for relay in relays)
    configuration = answer.get("configuration", {})
    found = [
        configuration.get("problem"),
        configuration.get("on_trial")
        and f"{configuration['file']} is on trial, and is undone in "
        f"{configuration['confirm_within_s']:.0f} s: `edgenode confirm` keeps it",
        answer["bird"]["problem"],
        answer["mesh"]["problem"],
        not lifeline["connected"] and LIFELINE_AWAY,
        lifeline["no_beat"] and f"no heartbeat: {lifeline['no_beat']}",
        lifeline["silent_s"] > 3
        and f"the lifeline has not answered for {lifeline['silent_s']:.0f} s: "
        "it would not withdraw if control died; restart it",
        steering["refusal"] and f"steering refuses the table: {steering['refusal']}",
        set_aside(report),
        (lost := answer.get("history", {}).get("lost", 0))
        and f"{lost} events could not be kept in the history: see control's log",
        hung and f"{hung} of {len(relays)} relay workers do not answer",
    ]
    found += [
        f"check {check['name']} cannot be made, and stays {check['state']} for now: "
        f"{check['trouble']}"
        for check in answer["checks"]
        if check.get("trouble")
    ]
    found += [
        f"check {check['name']}, which is {check['state']}, warns: {check['warning']}"
        for check in answer["checks"]
        if check.get("warning")
    ]
    found += [*registry_notes(answer), *bad_paths(answer), *_among_siblings(answer)]
    for address, reason in report.get("listen_failures", {}).items():
        found.append(f"steering cannot listen on {address}: {reason}")
    return [problem for problem in found if problem]


def _among_siblings(answer: Mapping[str, Any]) -> Iterator[str]:
    """What only all edges together can know."""
    for service in answer.get("services", []):
        if service.get("cause") == "everywhere":
            yield f"service {service['name']}: {service['evidence']}"
    siblings = answer.get("siblings", {})
    yield from siblings.get("conflicts", [])
    yield siblings.get("stale", "")
    for edge in siblings.get("edges", []):
        if edge["problem"]:
            yield f"edge {edge['name']}: {edge['problem']}"
