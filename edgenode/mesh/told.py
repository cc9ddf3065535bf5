"""What was changed of a mesh, in one line for the operator. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from edgenode.config import MeshPeer
from edgenode.mesh.state import Change, RemovePeer, SetPeer

MOST = 5
"""Peers that are named: the first start has them all."""


def told(changes: Sequence[Change], peers: Iterable[MeshPeer]) -> str:
    """How many changes, and of which peers; `peers` are those of the configuration."""
    named: dict[str, tuple[str, str]] = {}
    for peer in peers:
        named[peer.public_key] = (peer.name, f"{peer.name} moved back to its public_key")
        if peer.next_public_key is not None:
            named[peer.next_public_key] = (peer.name, f"{peer.name} moved to its next_public_key")
    found = dict.fromkeys(text for change in changes if (text := _peer(change, named)))
    texts = [*found][:MOST]
    if len(found) > MOST:
        texts.append(f"and {len(found) - MOST} more peers")
    made = f"{len(changes)} change{'s' if len(changes) > 1 else ''} made"
    return f"{made}: {', '.join(texts)}" if texts else made


def _peer(change: Change, named: dict[str, tuple[str, str]]) -> str | None:
    if isinstance(change, RemovePeer):
        return f"{change.public_key} removed"
    if not isinstance(change, SetPeer) or change.peer.public_key not in named:
        return None
    name, moved = named[change.peer.public_key]
    # A peer without addresses is the other key of one that has them (`plan._peers`).
    moves = change.before is not None and change.peer.allowed and not change.before.allowed
    return moved if moves else name
