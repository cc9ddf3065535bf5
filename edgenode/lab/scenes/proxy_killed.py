"""A local proxy dies: its prefix goes at once, users reach the next edge, and come back later."""

from __future__ import annotations

import signal
import time

from edgenode.lab.scenes.outcome import Outcome
from edgenode.lab.scenes.stage import Stage, address, first, milliseconds, shown
from edgenode.lab.topology import STATIC, WEB
from edgenode.lab.users import next_success

NAME = "proxy-killed"
TITLE = "all processes of a local proxy are killed with SIGKILL"

EVERY = 0.01
"""Seconds between two requests of the user."""


def play(stage: Stage, outcome: Outcome) -> None:
    """Figures: kill → withdraw on the wire, the user's outage, return → announce."""
    user = stage.topology.users[0].name
    edge, following = stage.topology.edges_by_distance(user)[:2]
    transit = stage.lab.transit_of(edge)
    prefix = STATIC.prefixes[0]
    stage.narrator.say(
        f"{user} asks {address(STATIC, 4)} every {EVERY * 1000:.0f} ms; "
        f"{edge} answers, its upstream {transit} has the prefix {prefix}"
    )
    load = stage.lab.requests(user, address(STATIC, 4), every=EVERY)
    stage.until(lambda: len(load.requests()) >= 20, 10, "the user is being served")
    stage.mark(NAME, "user", user)
    stage.mark(NAME, "edge", edge)
    stage.mark(NAME, "transit", transit)
    stage.mark(NAME, "prefix", str(prefix))
    victims = stage.lab.pids(edge, "nginx")
    killed = stage.lab.kill(edge, "nginx", signal.SIGKILL)
    stage.mark(NAME, "killed", killed)
    stage.narrator.say(f"killed: {len(victims)} processes of nginx on {edge}")

    def moved() -> bool:
        served = next_success(load.requests(), killed)
        return served is not None

    stage.until(moved, 10, "the user is served again")
    time.sleep(0.5)  # some more requests, to see that it stays so
    seen = stage.updates(transit, edge, killed)
    withdrawn = {
        version: milliseconds(killed, first(seen, STATIC.prefixes[i], withdrawn=True))
        for i, version in enumerate((4, 6))
    }
    served = next_success(load.requests(), killed)
    outage = milliseconds(killed, served.finished) if served else None
    outcome.figures |= {
        "withdraw_ms": withdrawn[4],
        "withdraw_ipv6_ms": withdrawn[6],
        "user_outage_ms": outage,
    }
    stage.claim(
        outcome,
        f"{transit} got the WITHDRAW, IPv4 and IPv6",
        None not in withdrawn.values(),
        f"{shown(withdrawn[4])} and {shown(withdrawn[6])} after the kill",
    )
    polls_need = stage.lab.settings.polls_need * 1000
    stage.claim(
        outcome,
        "the tripwires found it, not the polls",
        all(took is not None and took < polls_need for took in withdrawn.values()),
        f"{stage.lab.settings.fall} polls in turn take {polls_need:.0f} ms or more",
    )
    stage.claim(
        outcome,
        f"{user} is served by {following}",
        bool(served and served.body and served.body["edge"] == following),
        f"outage {shown(outage)}",
    )
    _explain_outage(stage, user, following, withdrawn[4], outage)
    stage.claim(
        outcome,
        f"only what needed it was withdrawn: {edge} still announces {WEB.prefixes[0]}",
        stage.announced(edge, WEB),
    )

    returned = stage.lab.start(edge, "nginx")
    stage.mark(NAME, "returned", returned)
    stage.until(lambda: stage.announced(edge, STATIC), 20, f"{edge} announces {prefix} again")
    announced = milliseconds(
        returned, first(stage.updates(transit, edge, returned), prefix, withdrawn=False)
    )
    outcome.figures["announce_ms"] = announced
    settings = stage.lab.settings
    stage.claim(
        outcome,
        "the proxy is back, and its prefix is announced again",
        announced is not None,
        f"{shown(announced)} after its start; rise {settings.rise}, "
        f"probed every {settings.check_interval:g} s",
    )
    back = stage.until(lambda: stage.edge_seen(user, STATIC) == edge, 10, f"{user} is back")
    load.stop()
    stage.claim(outcome, f"{user} is served by {edge} again", back is not None)


def _explain_outage(
    stage: Stage, user: str, following: str, withdraw: float | None, outage: float | None
) -> None:
    if withdraw is None or outage is None:
        return
    # SYN and its answer, request and its answer, all the way to the next edge.
    physics = 2 * stage.topology.rtt(user, following)
    stage.narrator.say(
        f"physics asks {physics:.1f} ms of the outage, two round-trips to {following}; the "
        f"other {outage - physics:.1f} ms are the withdraw ({withdraw:.1f} ms, partly while the "
        f"next SYN is on its way), the transit routers, and the {EVERY * 1000:.0f} ms clock"
    )
