"""Nodes that claim to be the same: one mesh address, name or key at two places. Pure.

The configuration refuses what it can see. At run time each node says who it is, and WireGuard
who it comes from: what does not fit together is named.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

from edgenode.config.values import Address, Network
from edgenode.siblings.message import Identity, Message
from edgenode.siblings.views import View


def conflicts(
    own: Identity, views: Sequence[View], allowed: Mapping[str, Sequence[Network]], now: float
) -> tuple[str, ...]:
    """Sentences, the same as long as it lasts. `views`: fresh ones."""
    told = [(view.sibling, view.message) for view in views if view.message is not None]
    return (
        *(text for sibling, message in told for text in _with_us(own, sibling, message)),
        *(text for one, other in combinations(told, 2) for text in _between(*one, *other)),
        *(_twins(view.sibling) for view in views if view.twins(now)),
        *(
            _foreign(sibling, address)
            for sibling, message in told
            for address in message.mesh
            if not _inside(address, allowed.get(sibling, ())) and str(address) not in own.mesh
        ),
    )


def _with_us(own: Identity, sibling: str, message: Message) -> Iterator[str]:
    if message.boot == own.boot:
        return
    for address in map(str, message.mesh):
        if address in own.mesh:
            yield (
                f"the mesh address {address} is this node's, and edge {sibling} "
                f"({_who(message)}) says it is its own: give each node one of its own"
            )
    if message.node == own.node:
        yield f"edge {sibling} calls itself {own.node}, as this node does: give it another name"
    if message.key and message.key == own.key:
        yield f"edge {sibling} has this node's key of WireGuard: give each node a key of its own"


def _between(one: str, first: Message, other: str, second: Message) -> Iterator[str]:
    for address in sorted({*map(str, first.mesh)} & {*map(str, second.mesh)}):
        yield (
            f"the mesh address {address} is claimed by edge {one} ({_who(first)}) and edge {other} "
            f"({_who(second)}): give each node one of its own"
        )
    if first.node == second.node:
        yield f"edges {one} and {other} both call themselves {first.node}: rename one"
    if first.key and first.key == second.key:
        yield f"edges {one} and {other} have the same key of WireGuard: give each one of its own"


def _twins(sibling: str) -> str:
    return (
        f"two nodes take turns at being edge {sibling}, with its key and address (a copy of its "
        "disk, or two edgenode control): what it says does not count; stop one of them"
    )


def _foreign(sibling: str, address: Address) -> str:
    return (
        f"edge {sibling} says that its mesh address is {address}, which is not among those that it "
        "is allowed here: it cannot be reached there; correct either"
    )


def _who(message: Message) -> str:
    return f"{message.node}, key {message.key[:8]}…" if message.key else message.node


def _inside(address: Address, networks: Sequence[Network]) -> bool:
    return any(network.version == address.version and address in network for network in networks)
