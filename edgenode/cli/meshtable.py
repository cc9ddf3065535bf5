"""`edgenode mesh` without a subcommand: the tunnels, as they are measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgenode.cli.columns import Column, Rows
from edgenode.cli.known import Known
from edgenode.cli.meshview import Peer
from edgenode.cli.meshview import peers as found_in
from edgenode.cli.options import console, errors, fail, show
from edgenode.cli.status import ask
from edgenode.cli.tables import (
    NONE,
    coloured,
    limits,
    milliseconds,
    more,
    share,
    size,
    some,
)
from edgenode.cli.times import spell

_FINE = ("good", "up")

SWITCHED = "has switched to its next_public_key: write it as its public_key"


def print_mesh(node: Known, limit: int, as_json: bool) -> None:
    """The table; exit status 1 where control does not answer, or there is no mesh."""
    answer = ask(node)
    mesh = answer["mesh"]
    if mesh["device"] is None:
        fail("the configuration has no [mesh]: nothing is steered from here")
    found = found_in(answer)
    data = {
        "node": answer["node"],
        "device": mesh["device"],
        "addresses": mesh.get("addresses", []),
        "public_key": mesh.get("public_key"),
        "listen_port": mesh.get("listen_port"),
        "mtu": mesh.get("mtu"),
        "problem": mesh["problem"],
        "peers": [peer.as_json() for peer in found],
    }
    show(data, as_json, lambda: _print(data, found, limit))


def _print(mesh: Mapping[str, Any], found: Sequence[Peer], limit: int) -> None:
    console.print(
        f"{mesh['node']}: {mesh['device']} {' '.join(mesh['addresses'])}, "
        f"UDP port {mesh['listen_port']}, MTU {mesh['mtu']}, "
        f"public key {mesh['public_key'] or 'not known yet'}",
        markup=False,
    )
    if mesh["problem"]:
        console.print(f"! {mesh['problem']}", markup=False, style="red")
    if not found:
        errors.print("edgenode: note: the mesh has no peers", markup=False)
        return
    lines = Rows(
        "PEER",
        "STATE",
        Column("HANDSHAKE", 3),
        "ROUND-TRIP",
        Column("LOSS", 1),
        Column("MTU", 2),
        Column("RX / TX", 4),
        "ENDPOINT",
    )
    # In the configuration's order; where there are too many, what is wrong before others.
    shown = (
        found
        if not limit
        else sorted(found, key=lambda peer: not (peer.bad or peer.problem))[:limit]
    )
    kept = {peer.name for peer in shown}
    for peer in found:
        if peer.name in kept:
            _line(lines, peer)
    lines.print()
    for (bad, reason), names in reasons([peer for peer in found if peer.name in kept]).items():
        style, mark = ("red", "!") if bad else ("yellow", "-")
        console.print(f"{mark} {some(names)}: {reason}", markup=False, style=style)
    if len(shown) < len(found):
        console.print(more(len(found) - len(shown), "peers"), markup=False)


def reasons(found: Sequence[Peer]) -> dict[tuple[bool, str], list[str]]:
    """What there is to say, and of whom: what is so of all peers is said once. Pure."""
    told: dict[tuple[bool, str], list[str]] = {}
    for peer in found:
        if peer.problem:
            told.setdefault((True, peer.problem), []).append(peer.name)
        if peer.next_key:
            told.setdefault((False, SWITCHED), []).append(peer.name)
        if peer.reason and (peer.bad or peer.mtu_lowered or peer.state not in _FINE):
            told.setdefault((peer.bad, peer.reason), []).append(peer.name)
    return told


def _line(lines: Rows, peer: Peer) -> None:
    age = peer.handshake_age_s
    lines.add(
        peer.name + (" (edge)" if peer.edge else ""),
        coloured(peer.state),
        "never" if age is None else f"{spell(age)} ago",
        milliseconds(peer.rtt_ms),
        share(peer.loss),
        limits(peer.mtu_configured, peer.mtu_proven),
        f"{size(peer.rx)} / {size(peer.tx)}",
        peer.endpoint or NONE,
    )
