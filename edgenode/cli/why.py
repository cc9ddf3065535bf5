"""`edgenode why`."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from ipaddress import ip_network
from typing import Annotated, Any

import typer

from edgenode import places
from edgenode.cli.known import Known, know
from edgenode.cli.options import EXIT_USAGE, AsJson, ConfigPath, console, fail, show
from edgenode.cli.status import LIFELINE_AWAY, told
from edgenode.cli.times import shown, spell


def add_to(app: typer.Typer) -> None:
    """Register the subcommand."""
    app.command(rich_help_panel="Looking")(why)


def why(
    context: typer.Context,
    subject: Annotated[
        str, typer.Argument(metavar="PREFIX|GROUP", help="A prefix, an address in it, or a group.")
    ],
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Why a prefix is announced or not, and what would change that.

    Since when, through which neighbors it really went out (asked of BIRD's export tables, not of
    its filters), which checks, rules and regions it hangs on, what operators want of it, and how
    near it is to being hidden by upstreams because it flaps.

    Exit status 1 where control does not answer.

    Examples:

        edgenode why 203.0.113.0/24

        edgenode why web --json
    """
    from edgenode.api.client import ApiError, ControlAway, call

    node = know(context, config)
    name = _group(node, subject)
    try:
        answer: dict[str, Any] = call(places.control_socket(node.run_dir), "GET", f"/v1/why/{name}")
    except (ApiError, ControlAway) as error:
        fail(str(error))

    def human() -> None:
        for line in lines(answer, time.time()):
            console.print(line, markup=False)

    show(answer, as_json, human)


def _group(node: Known, subject: str) -> str:
    """The group that is meant; exit status 2 where there is none."""
    if subject in node.groups:
        return subject
    around = node.holder(subject)
    if around is not None and ("/" not in subject or ip_network(subject) in node.groups[around]):
        return around
    known = ", ".join(map(node.spelled, node.groups))
    what = f"{subject} is neither a group nor one of its prefixes"
    part = f"; it is a part of {around}, which is announced as a whole" if around else ""
    return fail(f"{what}{part}; there are: {known}", EXIT_USAGE)


def lines(answer: Mapping[str, Any], now: float) -> Iterator[str]:
    """The explanation for people. Pure."""
    group = answer["group"]
    yield f"{group['name']} ({' '.join(group['prefixes'])}): {_standing(answer, now)}"
    if answer["paused"]:
        yield f"  PAUSED     {told(answer['paused'])}: nothing moves by itself"
    if not group["in_force"] and (problem := answer["bird"]["problem"]):
        yield f"  BIRD       {problem}"
    if not answer["lifeline"]["connected"]:
        yield f"  LIFELINE   {LIFELINE_AWAY}"
    for reason in group["reasons"]:
        yield f"  because    {reason}"
    yield from _neighbors(answer)
    yield from _rules(answer)
    yield from _regions(answer)
    for intent in answer["intents"]:
        if intent["kind"] != "paused":
            towards = f" towards {intent['neighbor']}" if intent["neighbor"] else ""
            yield f"  intent     {intent['kind']}{towards} {told(intent)}"
    yield f"  damping    {_damping(answer)}"
    for known in answer["other_sites"]:
        yield f"  elsewhere  {known['text']}"
    for line in _changes(answer):
        yield f"  to change  {line}"


def _standing(answer: Mapping[str, Any], now: float) -> str:
    group = answer["group"]
    words = {"normal": "announced", "withdrawn": "not announced"}
    text = words.get(group["level"], f"announced as {group['level']}")
    if group["since"] is not None:
        text += f" since {shown(group['since'])} ({spell(now - group['since'])})"
    else:
        text += " for longer than this control runs"
    if not group["in_force"]:
        text += "; BIRD DOES NOT DO SO YET"
    return text


def _neighbors(answer: Mapping[str, Any]) -> Iterator[str]:
    level = answer["group"]["level"]
    towards = {intent["neighbor"] for intent in answer["intents"]}
    for neighbor in answer["neighbors"]:
        state = neighbor["state"]
        if state != "Established":
            text = f"nothing: the session is {state}"
        elif neighbor["as_told"]:
            text = "nothing, as it should be" if level == "withdrawn" else f"sent, as {level}"
            text += ", degraded towards it alone" if neighbor["name"] in towards else ""
        else:
            text = f"NOT AS IT SHOULD BE: {neighbor['problem']}"
        yield f"  neighbor   {neighbor['name']}: {text}"


def _rules(answer: Mapping[str, Any]) -> Iterator[str]:
    reasons = {check["name"]: check["reason"] for check in answer["checks"]}
    for rule in answer["rules"]:
        states = ", ".join(f"{name} {state}" for name, state in rule["checks"].items())
        need = rule["need"]
        if need == "quorum":
            need = f"quorum {rule['low']:.0%} to {rule['high']:.0%}"
        yield f"  rule       {need} of {states}; else {rule['level']}: {rule['standing']}"
        for name, state in rule["checks"].items():
            if state != "up":
                yield f"  check      {name}: {state}: {reasons.get(name, '')}"
    for check in answer["checks"]:
        if check.get("warning"):
            yield f"  warning    {check['name']}: {check['warning']}"


def _regions(answer: Mapping[str, Any]) -> Iterator[str]:
    words = {True: "has a reachable region", False: "has NO reachable region", None: "unknown"}
    for service in answer["services"]:
        need = answer["regions_required"]
        yield f"  service    {service['name']} {words[service['reachable']]} (needed: {need})"
        evidence = service.get("evidence", "")
        if evidence and not any(evidence in reason for reason in answer["group"]["reasons"]):
            yield f"  evidence   {service['name']} ({service['cause']}): {evidence}"
    if answer["regions"]:
        regions = ", ".join(
            f"{region['name']} {region['workers_up']} of {region['workers']}"
            for region in answer["regions"]
        )
        yield f"  regions    {regions} workers up"
    yield from _siblings(answer)


def _siblings(answer: Mapping[str, Any]) -> Iterator[str]:
    siblings = answer.get("siblings") or {}
    words = {True: "a region answers", False: "no region answers", None: "not known"}
    for edge in siblings.get("edges", []):
        if edge["fresh"]:
            told = [f"{name}: {words[reachable]}" for name, reachable in edge["services"].items()]
            yield f"  sibling    {edge['name']} says of {', '.join(told) or 'nothing here'}"
        else:
            yield f"  sibling    {edge['name']} is silent"
    for conflict in siblings.get("conflicts", []):
        yield f"  conflict   {conflict}"
    if stale := siblings.get("stale"):
        yield f"  registry   {stale}"


def _damping(answer: Mapping[str, Any]) -> str:
    penalty = answer["group"]["penalty"]
    text = f"penalty {penalty['value']:.0f} of {penalty['suppress']:.0f}"
    text += "" if penalty["enabled"] else " (not heeded: damping is off)"
    waits = answer["group"]["waits"]
    return text + (f"; waits {spell(waits['s'])} to be {waits['for']}" if waits else "")


def _changes(answer: Mapping[str, Any]) -> Iterator[str]:
    """What would make it another level."""
    group = answer["group"]
    if answer["paused"]:
        yield "edgenode resume"
    for intent in answer["intents"]:
        if intent["kind"] == "paused":
            continue
        end = "" if intent["until"] is None else f", or {shown(intent['until'])}"
        if intent["author"].startswith("the file "):
            yield f"remove {intent['author'].removeprefix('the file ')}{end}"
        elif intent["group"] == "*":
            yield f"edgenode release --all{end}"
        else:
            only = f" --neighbor {intent['neighbor']}" if intent["neighbor"] else ""
            yield f"edgenode release {group['name']}{only}{end}"
    broken = [rule for rule in answer["rules"] if rule["standing"] != "whole"]
    for rule in broken:
        yield _mending(rule)
    off = [each["name"] for each in answer["services"] if each["reachable"] is False]
    if off and group["level"] == "withdrawn":
        yield f"a region must answer for {' or '.join(off)}"
    if waits := group["waits"]:
        yield (
            f"it is {waits['for']} in {spell(waits['s'])}; edgenode release {group['name']} "
            "--force does not wait"
        )
    if group["level"] == "normal" and not answer["paused"]:
        whole = [rule for rule in answer["rules"] if rule["standing"] == "whole"]
        yield from (_breaking(rule) for rule in whole)


def _mending(rule: Mapping[str, Any]) -> str:
    missing = [name for name, state in rule["checks"].items() if state != "up"]
    if rule["need"] == "all":
        return f"up again must be {' and '.join(missing)}"
    if rule["need"] == "any":
        return f"up again must be one of {', '.join(missing)}"
    return f"{rule['high']:.0%} of {', '.join(rule['checks'])} must be up"


def _breaking(rule: Mapping[str, Any]) -> str:
    names = list(rule["checks"])
    if rule["need"] == "all":
        return f"{rule['level']} as soon as {' or '.join(names)} is down"
    if rule["need"] == "any":
        return f"{rule['level']} as soon as all of {', '.join(names)} are down"
    return f"{rule['level']} as soon as less than {rule['low']:.0%} of {', '.join(names)} are up"
