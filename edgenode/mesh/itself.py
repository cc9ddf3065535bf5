"""Peers that have the node's own key: no session with itself is made. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from edgenode.config import MeshPeer


def others(
    peers: Iterable[MeshPeer], public_key: str
) -> tuple[tuple[MeshPeer, ...], dict[str, str]]:
    """The peers that are other nodes, where `public_key` is our own; and, by the peers' names, what
    is wrong with the rest. One whose next key alone is ours stays, under its present one."""
    kept, problems = [], {}
    for peer in peers:
        for field in ("public_key", "next_public_key"):
            if getattr(peer, field) == public_key:
                problems[peer.name] = (
                    f"its {field} is this node's own: write what `edgenode mesh key` prints on "
                    f"{peer.name} itself, and give each node a key of its own"
                )
        if peer.public_key == public_key:
            continue
        ours = peer.next_public_key == public_key
        kept.append(peer.model_copy(update={"next_public_key": None}) if ours else peer)
    return tuple(kept), problems
