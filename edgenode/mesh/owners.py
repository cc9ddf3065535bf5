"""Which peer an address of the mesh is behind. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from edgenode.config import MeshPeer
from edgenode.config.networks import Holders
from edgenode.config.values import Address


class Owners:
    """Made once for a configuration, whose rules say that no two peers' addresses overlap."""

    def __init__(self, peers: Iterable[MeshPeer]) -> None:
        self._holders = Holders(((peer.name,), net) for peer in peers for net in peer.allowed)

    def of(self, address: Address) -> str | None:
        """The peer's name; None: no peer has it, and no packet for it leaves this node."""
        held = self._holders.of(address)
        return str(held[0][0]) if held else None
