"""What `edgenode mesh` has to show, out of the node's status. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Peer:
    """A configured peer, and what is known of the path to it."""

    name: str
    endpoint: str | None
    """Where it last spoke from."""
    handshake_age_s: float | None
    """Since the last one; None: there was none."""
    rtt_ms: float | None
    """Smoothed, of echoes through the tunnel."""
    loss: float | None
    """Share of the echoes that were not answered."""
    mtu_configured: int | None
    mtu_proven: int | None
    """Bytes of the largest packet that is known to pass."""
    mtu_lowered: int | None
    """What its routes have instead of the device's."""
    state: str
    reason: str
    bad: bool
    """Whether connections through it would hang or fail."""
    direction: str | None
    """Of a path that is broken one way: out (from here to there), in."""
    edge: bool
    rx: int
    tx: int
    next_key: bool
    """Whether it has switched to its `next_public_key`."""
    problem: str
    """What is wrong with its secret, its endpoint's name or its identity; empty: nothing."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def peers(status: Mapping[str, Any]) -> list[Peer]:
    """All of them, as the configuration has them."""
    paths = {path["name"]: path for path in status.get("paths") or ()}
    mesh = status["mesh"]
    return [_peer(peer, paths.get(peer["name"], {}), mesh) for peer in mesh["peers"]]


def bad_paths(status: Mapping[str, Any], most: int = 10) -> Iterator[str]:
    """A sentence for each peer that has a problem, or its path; not for hundreds."""
    found = [peer for peer in peers(status) if peer.bad or peer.problem]
    for peer in found[:most]:
        if peer.problem:
            yield f"mesh peer {peer.name}: {peer.problem}"
        if peer.bad:
            yield f"mesh peer {peer.name} is {peer.state}: {peer.reason}"
    if len(found) > most:
        yield f"{len(found) - most} more mesh peers are bad: edgenode mesh"


def _peer(peer: Mapping[str, Any], path: Mapping[str, Any], mesh: Mapping[str, Any]) -> Peer:
    mtu = path.get("mtu") or {}
    state, reason, bad = path.get("state", "unknown"), path.get("reason", ""), path.get("bad")
    if peer["stale"] and not bad:
        state, bad = "stale", True
        age = peer["handshake_age"]
        reason = "no handshake yet" if age is None else f"no handshake for {age:.0f} s"
        reason += ": see its endpoint, its key, and whether it runs"
    elif not path and not bad:
        state = "unknown" if peer["handshake_age"] is None else "up"
    return Peer(
        name=peer["name"],
        endpoint=peer["endpoint"],
        handshake_age_s=peer["handshake_age"],
        rtt_ms=path.get("rtt_ms"),
        loss=path.get("loss"),
        mtu_configured=mtu.get("configured", mesh.get("mtu")),
        mtu_proven=mtu.get("proven"),
        mtu_lowered=mtu.get("lowered"),
        state=state,
        reason=reason,
        bad=bool(bad),
        direction=path.get("direction"),
        edge=bool(peer.get("edge")),
        rx=peer["rx"],
        tx=peer["tx"],
        next_key=bool(peer.get("next_key")),
        problem=peer.get("problem", ""),
    )
