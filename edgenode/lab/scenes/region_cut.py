"""The tunnel to the nearest region drops every packet: users get the next region, then return."""

from __future__ import annotations

import time
from statistics import median

from edgenode.lab.scenes.outcome import Outcome
from edgenode.lab.scenes.stage import Stage, address, shown
from edgenode.lab.topology import WEB
from edgenode.lab.users import Request

NAME = "region-cut"
TITLE = "the nearest region's tunnel is cut: packets vanish, nothing is reset"

EVERY = 0.1
"""Seconds between two requests of the user."""
LEARNED = 0.5
"""Seconds after the cut in which each of an edge's relays has met the silent region."""
STEADY = 4.0
"""Seconds for which the return is watched."""


def play(stage: Stage, outcome: Outcome) -> None:
    """Figures: how long the first connection after the cut took, the next region's round-trip."""
    user = stage.topology.users[0].name
    edge = stage.topology.edges_by_distance(user)[0]
    nearest, following = stage.topology.regions_by_distance(edge)[:2]
    rtts = {region["name"]: region["rtt_ms"] for region in stage.status(edge)["regions"]}
    stage.get(user)  # the relay knows what is usual
    cut = stage.lab.cut_region(edge, nearest)
    stage.mark(NAME, "cut", cut)
    stage.narrator.say(f"cut: the tunnel between {edge} and {nearest}")
    answer = stage.get(user)
    load = stage.lab.requests(user, address(WEB, 4), every=EVERY)
    first = round(answer.total_ms, 3)
    outcome.figures |= {
        "first_connection_ms": first if answer.ok else None,
        "next_region_rtt_ms": rtts[following],
        "user_edge_rtt_ms": stage.topology.rtt(user, edge),
    }
    stage.mark(NAME, "user", user)
    stage.mark(NAME, "first_connection", [answer.started, answer.finished])
    stage.claim(
        outcome,
        f"the first connection after the cut is served by {following}",
        bool(answer.body and answer.body["region"] == following),
        f"{shown(first)} from SYN to the whole answer; "
        f"round-trip {edge}–{following} {shown(rtts[following])}",
    )
    # User: SYN and request; edge: SYN and request to the next region.
    physics = 2 * stage.topology.rtt(user, edge) + 2 * rtts[following]
    wait = first - physics
    stage.narrator.say(
        f"physics asks {physics:.1f} ms: twice the way {user}–{edge} and {edge}–{following}; "
        f"{wait:.1f} ms is the wait for {nearest}, given up after a few times "
        f"its usual {rtts[nearest]:.1f} ms"
    )

    def out_of_the_table() -> bool:
        regions = {r["name"]: r["workers_up"] for r in stage.status(edge)["regions"]}
        return bool(regions[nearest] == 0)

    found = stage.until(out_of_the_table, 20, f"{edge} knows that {nearest} is gone")
    stage.claim(
        outcome,
        f"{nearest} is out of the steering table",
        found is not None,
        f"{time.time() - cut:.1f} s after the cut",
    )
    known = time.time()
    later = [
        r.total_ms for r in load.requests() if cut + LEARNED < r.started and r.finished < known
    ]
    # Not each of them: now and then one tries the region for all.
    usual = median(later) if later else None
    stage.claim(
        outcome,
        f"until then the connections that followed did not wait for {nearest} again",
        usual is not None and usual < physics + wait / 2,
        f"{len(later)} requests, half of them within {shown(usual)}",
    )
    stage.claim(outcome, f"{edge} goes on announcing", stage.announced(edge, WEB))

    healed = stage.lab.heal_region(edge, nearest)
    stage.mark(NAME, "healed", healed)
    stage.narrator.say(f"healed: the tunnel between {edge} and {nearest}")

    def back() -> bool:
        return any(_region(r) == nearest for r in load.requests() if r.started > healed)

    returned = stage.until(back, 30, f"users are steered to {nearest} again")
    outcome.figures["return_ms"] = None if returned is None else round(returned * 1000, 3)
    time.sleep(STEADY)
    load.stop()
    changes = _changes([r for r in load.requests() if r.started > cut])
    outcome.figures["region_changes"] = len(changes) - 1
    stage.claim(
        outcome,
        f"{user} is served by {nearest} again, and stays there",
        changes == [following, nearest],
        f"{shown(returned, 's')} after it healed; regions in turn: {' → '.join(changes)}",
    )
    failed = [r for r in load.requests() if not r.ok]
    outcome.figures["failed_requests"] = len(failed)
    stage.claim(
        outcome,
        "no request failed",
        not failed,
        f"{len(load.requests())} requests" + (f", first: {failed[0].error}" if failed else ""),
    )


def _region(request: Request) -> str | None:
    return str(request.body["region"]) if request.body else None


def _changes(requests: list[Request]) -> list[str]:
    """The regions that answered, one entry for each time that it became another."""
    regions: list[str] = []
    for region in map(_region, requests):
        if region and regions[-1:] != [region]:
            regions.append(region)
    return regions
