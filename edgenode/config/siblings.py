"""Rules on what the edges tell each other. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from edgenode.config.errors import Problem
from edgenode.config.schema import Config, Mesh, MeshPeer
from edgenode.config.values import Address


def addresses(mesh: Mesh, peer: MeshPeer) -> tuple[Address, ...]:
    """The mesh addresses of an edge: what it is allowed as single addresses, in our families."""
    own = {address.version for address in mesh.addresses}
    return tuple(
        network.network_address
        for network in peer.allowed
        if network.prefixlen == network.max_prefixlen and network.version in own
    )


def check(config: Config) -> Iterator[Problem]:
    """What is wrong with [siblings], and with the peers that are edges."""
    times = config.siblings
    if times.stale_after < 2 * times.interval:
        what = (
            f"is {times.stale_after:g} s and siblings.interval {times.interval:g} s: at least "
            "twice that, or one lost message makes a sibling count no more"
        )
        yield Problem(("siblings", "stale_after"), what)
    if config.mesh is None or not config.edges:
        if "siblings" in config.model_fields_set:
            what = "tells nobody anything: write edge = true at the [[mesh.peers]] that are edges"
            yield Problem(("siblings",), what, depends=("mesh",))
        return
    if times.port == config.mesh.listen_port:
        what = f"{times.port} is mesh.listen_port too: give them different ports"
        yield Problem(("siblings", "port"), what)
    for p, peer in enumerate(config.mesh.peers):
        if peer.edge and not addresses(config.mesh, peer):
            what = (
                f"no mesh address of edge {peer.name} is known: allow it as a single one, such as "
                '"192.0.2.7/32", in a family in which this node has a mesh address'
            )
            yield Problem(("mesh", "peers", p, "allowed"), what)
