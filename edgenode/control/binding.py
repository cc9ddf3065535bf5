"""How sockets into the mesh are bound: to its device and to the node's own addresses."""

from __future__ import annotations

from edgenode.config import Config
from edgenode.steering.table import Bind


def binding(config: Config) -> Bind:
    """Of a node without a mesh: to nothing."""
    if config.mesh is None:
        return Bind()
    own = {address.version: str(address) for address in config.mesh.addresses}
    return Bind(device=config.mesh.device, ipv4=own.get(4), ipv6=own.get(6))
