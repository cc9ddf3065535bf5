"""Drain by command: announced as the lesser choice first, withdrawn later, and no one fails."""

from __future__ import annotations

import time

from edgenode.lab.scenes.outcome import Outcome
from edgenode.lab.scenes.stage import Stage, address, first, milliseconds, shown
from edgenode.lab.topology import WEB

NAME = "drain"
TITLE = "an edge is drained by command, and undrained"

EVERY = 0.02
"""Seconds between two requests of the user."""
CLOCK = 0.25
"""Seconds by which one UPDATE may be longer on its way from control to the wire than another, on a
machine with other work: control counts from what it told BIRD."""


def play(stage: Stage, outcome: Outcome) -> None:
    """Figures: requests that failed, connections that were under way when the route moved."""
    user = stage.topology.users[0].name
    edge, following = stage.topology.edges_by_distance(user)[:2]
    transit = stage.lab.transit_of(edge)
    prefix = WEB.prefixes[0]
    load = stage.lab.requests(user, address(WEB, 4), every=EVERY)
    stage.until(lambda: len(load.requests()) >= 20, 10, "the user is being served")
    began = stage.mark(NAME, "drain")
    stage.narrator.say(f"{edge}# edgenode drain web")
    said = stage.command(edge, "drain", "web", "--reason", "the lab's drain scene")
    stage.claim(outcome, "the command was accepted", said.returncode == 0, said.stderr.strip())

    def lesser() -> bool:
        routes = [r for r in stage.routes(transit, WEB) if r.edge == edge]
        return bool(routes) and routes[0].drained and not routes[0].best

    seen = stage.until(lesser, 5, f"{transit} has it as the lesser choice")
    stage.claim(
        outcome,
        f"{transit} has {prefix} of {edge} with 65535:0, and as the lesser choice",
        seen is not None,
        ", ".join(
            f"{r.edge}{' (best)' if r.best else ''} path {' '.join(map(str, r.as_path))}"
            for r in stage.routes(transit, WEB)
        ),
    )
    stage.claim(
        outcome,
        f"{user}'s new connections are served by {following}",
        stage.edge_seen(user, WEB) == following,
    )
    stage.until(
        lambda: not stage.announced(edge, WEB), stage.lab.settings.drain_time + 10, "the withdraw"
    )
    time.sleep(0.5)
    told = stage.updates(transit, edge, began)
    drained = next((u for u in told if str(prefix) in u.announced), None)
    withdrawn = first(told, prefix, withdrawn=True)
    stage.claim(
        outcome,
        "then the WITHDRAW, when the lesser route has stood for drain_time",
        withdrawn is not None
        and drained is not None
        and (65535, 0) in drained.communities
        and withdrawn - drained.time >= stage.lab.settings.drain_time - CLOCK,
        f"{shown(milliseconds(drained.time, withdrawn) if drained else None)} after the UPDATE; "
        f"drain_time {stage.lab.settings.drain_time:g} s",
    )
    # A connection that was under way when its route moved is not the drain's failure: anycast
    # carries its next packet to another edge. One begun after that must succeed. The route moves
    # with the UPDATE, or as soon after it as the transit's kernel has learned of it.
    moved_at = max(
        drained.time if drained else began,
        max(
            (r.started for r in load.requests() if r.body and r.body["edge"] == edge),
            default=began,
        ),
    )
    stage.mark(NAME, "moved", moved_at)
    failed = [r for r in load.requests() if not r.ok]
    under_way = [r for r in failed if r.started <= moved_at < r.finished]
    failures = [r for r in failed if r not in under_way]
    outcome.figures |= {
        "failed_requests": len(failures),
        "moved_under_way": len(under_way),
        "withdraw_ms": milliseconds(began, withdrawn),
    }
    stage.mark(NAME, "edge", edge)
    stage.mark(NAME, "user", user)
    stage.mark(NAME, "transit", transit)
    stage.mark(NAME, "prefix", str(prefix))
    stage.claim(
        outcome,
        "no request failed",
        not failures,
        f"{len(load.requests())} requests; {len(under_way)} were under way when the route moved"
        + (f"; first failure: {failures[0].error}" if failures else ""),
    )
    stage.narrator.say(f"{edge}# edgenode undrain web")
    undone = stage.command(edge, "undrain", "web")
    back = stage.until(
        lambda: (
            undone.returncode == 0
            and any(r.edge == edge and r.best and not r.drained for r in stage.routes(transit, WEB))
        ),
        10,
        f"{transit} prefers {edge} again",
    )
    served = stage.until(lambda: stage.edge_seen(user, WEB) == edge, 10, f"{user} is back")
    load.stop()
    stage.claim(
        outcome,
        f"undrain brings it back: {user} is served by {edge}",
        back is not None and served is not None,
    )
