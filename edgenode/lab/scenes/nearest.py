"""Users in each city reach the nearest edge, and through it the nearest region."""

from __future__ import annotations

from statistics import median
from typing import Any

from edgenode.lab.scenes.outcome import Outcome
from edgenode.lab.scenes.stage import Stage, shown
from edgenode.lab.topology import STATIC, WEB
from edgenode.lab.users import Request

NAME = "nearest"
TITLE = "each user reaches the nearest edge, and the nearest region behind it"

REQUESTS = 5


def play(stage: Stage, outcome: Outcome) -> None:
    """Figures: by user, who answered and how long it took."""
    users: dict[str, Any] = {}
    began = stage.mark(NAME, "began")
    for user in stage.topology.users:
        edge = stage.topology.edges_by_distance(user.name)[0]
        region = stage.topology.regions_by_distance(edge)[0]
        for version in (4, 6):
            answers = [stage.get(user.name, WEB, version) for _ in range(REQUESTS)]
            local = stage.get(user.name, STATIC, version)
            figures = _figures(answers)
            users[f"{user.name}-ipv{version}"] = figures
            own = stage.topology.uplink(user.name).end(user.name)
            client = str((own.ipv4 if version == 4 else own.ipv6).ip)
            right = (
                all(
                    a.body
                    and (a.body["edge"], a.body["region"], a.body["client"])
                    == (edge, region, client)
                    for a in answers
                )
                and local.body is not None
                and local.body["edge"] == edge
            )
            stage.claim(
                outcome,
                f"{user.name} (IPv{version}) → edge {figures['edge']} → region {figures['region']}",
                right,
                f"connect {shown(figures['connect_ms'])}, answer {shown(figures['total_ms'])}"
                + ("" if right else f"; expected {edge} → {region} for client {client}"),
            )
    outcome.figures["users"] = users
    leaked = stage.in_the_clear(began)
    stage.claim(
        outcome,
        "between edges and regions all went through the mesh: no transit saw a packet of it",
        not leaked,
        f"{len(leaked)} packets, the first from {leaked[0]}" if leaked else "",
    )


def _figures(answers: list[Request]) -> dict[str, Any]:
    def said(key: str) -> str:
        return "/".join(sorted({str(a.body[key]) if a.body else str(a.error) for a in answers}))

    connects = [a.connect_ms for a in answers if a.connect_ms is not None]
    return {
        "edge": said("edge"),
        "region": said("region"),
        "connect_ms": round(median(connects), 3) if connects else None,
        "total_ms": round(median(a.total_ms for a in answers), 3),
    }
