"""A user whose way to one edge does not follow BGP, as a customer's with a static route."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Network

from edgenode.lab import netns
from edgenode.lab.instance import Lab

_TABLE = 77


@contextmanager
def pinned(lab: Lab, user: str, edge: str, prefix: IPv4Network) -> Iterator[None]:
    """While in the block the user's packets to a prefix go to that edge, whoever announces it.

    Every transit on the way gets a rule for the user's address. Raises LabError.
    """
    source = lab.topology.uplink(user).end(user).ipv4.ip
    here = lab.transit_of(user)
    set_up: list[str] = []
    try:
        while here != edge:
            link = _towards(lab, here, edge)
            via, there = link
            netns.configure(
                lab.namespace(here),
                [
                    f"rule add from {source} to {prefix} lookup {_TABLE}",
                    f"route add {prefix} via {via} table {_TABLE}",
                ],
            )
            set_up.append(here)
            here = there
        yield
    finally:
        for transit in set_up:
            netns.configure(
                lab.namespace(transit),
                [
                    f"rule del from {source} to {prefix} lookup {_TABLE}",
                    f"route flush table {_TABLE}",
                ],
            )


def _towards(lab: Lab, here: str, edge: str) -> tuple[str, str]:
    """The next hop on the shortest way to an edge: its address, and its node."""
    distances = lab.topology.distances(edge)
    ends = [link.other(here) for link in lab.topology.links_of(here)]
    following = min(ends, key=lambda end: distances[end.node])
    return str(following.ipv4.ip), following.node
