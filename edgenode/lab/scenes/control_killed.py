"""Control dies: the lifeline withdraws, steering goes on with every connection that still comes."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from edgenode.lab.scenes.outcome import Outcome
from edgenode.lab.scenes.pinned import pinned
from edgenode.lab.scenes.stage import Stage, address, first, milliseconds, shown
from edgenode.lab.topology import WEB
from edgenode.lab.users import Held

NAME = "control-killed"
TITLE = "edgenode control alone is killed with SIGKILL, while an exec check of it runs"

CONNECTIONS = 20
EVERY = 0.1
"""Seconds between two requests on a held connection."""
WATCHED = 3.0
"""Seconds for which connections are watched after the kill."""


def play(stage: Stage, outcome: Outcome, sign: int = signal.SIGKILL) -> None:
    """Figures: kill → withdraw on the wire, connections lost and moved."""
    mover, stayer = stage.topology.users[0].name, stage.topology.users[1].name
    edge, following = stage.topology.edges_by_distance(mover)[:2]
    transit = stage.lab.transit_of(edge)
    with pinned(stage.lab, stayer, edge, WEB.prefixes[0]):
        stage.narrator.say(
            f"{mover} holds {CONNECTIONS} connections by way of BGP, {stayer} holds {CONNECTIONS} "
            f"to {edge} by a static route, which no withdraw moves"
        )
        staying = stage.lab.hold(stayer, address(WEB, 4), CONNECTIONS, every=EVERY)
        moving = stage.lab.hold(mover, address(WEB, 4), CONNECTIONS, every=EVERY)
        opened = staying.opened() + moving.opened()
        stage.claim(outcome, f"{2 * CONNECTIONS} connections are served", opened == 2 * CONNECTIONS)
        control = stage.lab.main_pid(edge, "control")
        runner = stage.lab.main_pid(edge, "exec-runner")
        probing = stage.until(lambda: _children(runner), 10, "an exec check runs")
        killed = stage.mark(NAME, "killed")
        os.kill(control, sign)
        stage.mark(NAME, "mover", mover)
        stage.mark(NAME, "stayer", stayer)
        stage.mark(NAME, "edge", edge)
        stage.mark(NAME, "transit", transit)
        stage.mark(NAME, "prefix", str(WEB.prefixes[0]))
        stage.narrator.say(f"{signal.Signals(sign).name} to edgenode control (pid {control}) alone")
        stage.claim(outcome, "an exec check was running", probing is not None)

        def gone() -> bool:
            seen = stage.updates(transit, edge, killed)
            return all(first(seen, prefix, withdrawn=True) for prefix in WEB.prefixes)

        stage.until(gone, 20, "the lifeline has withdrawn")
        time.sleep(WATCHED)
        seen = stage.updates(transit, edge, killed)
        withdrawn = {
            version: milliseconds(killed, first(seen, WEB.prefixes[i], withdrawn=True))
            for i, version in enumerate((4, 6))
        }
        stage.claim(
            outcome,
            f"the lifeline withdrew: {transit} got the WITHDRAW, IPv4 and IPv6",
            None not in withdrawn.values(),
            f"{shown(withdrawn[4])} and {shown(withdrawn[6])} after the kill",
        )
        staying.stop()
        moving.stop()
        lost = [held for held in staying.held() if held.lost]
        moved = [held for held in moving.held() if _moved(held, following)]
        neither = [h for h in moving.held() if h.lost and not _moved(h, following)]
        outcome.figures |= {
            "withdraw_ms": withdrawn[4],
            "withdraw_ipv6_ms": withdrawn[6],
            "connections_lost": len(lost) + len(neither),
            "connections_moved": len(moved),
        }
        answered = sum(held.answered for held in staying.held())
        stage.claim(
            outcome,
            "steering served on: no connection whose route stayed was lost",
            not lost and answered > CONNECTIONS,
            f"{answered} answers on {len(staying.held())} connections of {stayer}"
            + (f"; lost: {lost[0].lost}" if lost else ""),
        )
        stage.claim(
            outcome,
            f"the connections whose route moved met {following}, which reset them",
            bool(moved) and not neither,
            f"{len(moved)} of {len(moving.held())} moved",
        )
        fresh = stage.get(stayer)
        stage.claim(
            outcome,
            f"new connections too: {edge} still accepts and steers",
            bool(fresh.body and fresh.body["edge"] == edge),
        )
    if sign == signal.SIGSTOP:
        os.kill(control, signal.SIGCONT)
    else:
        stage.lab.start(edge, "control")
    back = stage.until(lambda: stage.announced(edge, WEB), 30, f"{edge} announces again")
    outcome.figures["return_ms"] = None if back is None else round(back * 1000, 3)
    stage.claim(
        outcome,
        "control is back, and the prefixes are announced again",
        back is not None,
        f"{shown(back, 's')} after its start",
    )


def _moved(held: Held, following: str) -> bool:
    """Whether a connection ended because its packets came to another edge."""
    return bool(held.lost and held.after and held.after["edge"] == following)


def _children(pid: int) -> list[int]:
    children: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):  # a thread that has ended meanwhile
            children += map(int, task.read_text("ascii").split())
    return children
