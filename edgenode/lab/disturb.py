"""What can be done to a lab: tunnels and links cut, delays changed."""

from __future__ import annotations

import time

from edgenode.lab import netns
from edgenode.lab.errors import LabError
from edgenode.lab.links import DelayLinks
from edgenode.lab.nodes import region
from edgenode.lab.state import State
from edgenode.lab.topology import Link
from edgenode.lab.view import Observed


class Disturbed(Observed):
    """The part of a lab that disturbs. Methods raise LabError."""

    def __init__(self, name: str, state: State) -> None:
        super().__init__(name, state)
        self._delay_links: DelayLinks | None = None

    def cut_region(self, edge_node: str, region_node: str) -> float:
        """Silently drop the tunnel's packets between an edge and a region; returns the UNIX time.

        It happens on the region's transit, so that neither end learns of it.
        """
        return self._cut(edge_node, region_node, "add")

    def heal_region(self, edge_node: str, region_node: str) -> float:
        """End `cut_region`; returns the UNIX time."""
        return self._cut(edge_node, region_node, "delete")

    def _cut(self, edge_node: str, region_node: str, verb: str) -> float:
        one, other = (region.outer(self.topology, n) for n in (edge_node, region_node))
        pairs = f"{{ {one} . {other}, {other} . {one} }}"
        transit = self.transit_of(region_node)
        moment = time.time()
        netns.run(
            ["nft", verb, "element", "inet", "edgenode_lab", "cut", pairs],
            namespace=self.namespace(transit),
        )
        return moment

    def _far_links(self) -> DelayLinks:
        if self._delay_links is None:
            raise LabError(f"lab {self.name!r} is not up")
        return self._delay_links

    def cut_link(self, one: str, other: str) -> None:
        """Silently drop everything on the link between nodes of two cities."""
        self._far_links().cut(self._far(one, other))

    def heal_link(self, one: str, other: str) -> None:
        """End `cut_link`."""
        self._far_links().heal(self._far(one, other))

    def set_rtt(self, one: str, other: str, rtt: float) -> None:
        """Change the round-trip of a link between two cities (milliseconds); routes stay."""
        self._far_links().delay(self._far(one, other), rtt)

    def _far(self, one: str, other: str) -> Link:
        link = self.topology.link(one, other)
        if link.rtt == 0:
            raise LabError(f"{one} and {other} are in one city: no delay line lies between them")
        return link
