"""The names that tie a lab's parts together: labs, nodes, namespaces, devices.

A lab's name holds no hyphen, so the namespace of one lab can never be taken for another's:
`edgenode-a-b1` belongs to lab `a` and to nobody else.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from edgenode.lab.errors import LabError

RUN_ROOT = Path("/run/edgenode-lab")
NETNS_ROOT = Path("/run/netns")

_LAB = re.compile(r"[a-z][a-z0-9]{0,5}")
_NODE = re.compile(r"[a-z][a-z0-9]{0,6}")
_NAMESPACE = re.compile(rf"edgenode-(?P<lab>{_LAB.pattern})-(?P<node>{_NODE.pattern})")

# The process that delays the packets between cities lives in a namespace of its own.
WIRE = "wire"
_RESERVED = frozenset({WIRE})


class Identity(NamedTuple):
    """The lab and the node that a namespace belongs to."""

    lab: str
    node: str


def check_lab(name: str) -> str:
    """Return `name`, or raise LabError: a device's name (lab-node) has room for 15 characters."""
    if not _LAB.fullmatch(name):
        raise LabError(
            f"lab name {name!r} cannot be used: take 1 to 6 lower-case letters and digits, "
            "the first a letter"
        )
    return name


def check_node(name: str) -> str:
    """Return `name`, or raise LabError."""
    if not _NODE.fullmatch(name) or name in _RESERVED:
        raise LabError(
            f"node name {name!r} cannot be used: take 1 to 7 lower-case letters and digits, "
            f"the first a letter, and not {WIRE!r}"
        )
    return name


def namespace(lab: str, node: str) -> str:
    """Name of a node's network namespace."""
    return f"edgenode-{lab}-{node}"


def identify(name: str) -> Identity | None:
    """Whose namespace this is; None when it is no lab's."""
    found = _NAMESPACE.fullmatch(name)
    return Identity(found["lab"], found["node"]) if found else None


def namespaces(lab: str, root: Path = NETNS_ROOT) -> dict[str, str]:
    """The namespaces that exist for exactly this lab: node → name."""
    try:
        names = sorted(entry.name for entry in root.iterdir())
    except FileNotFoundError:
        return {}
    found = ((identify(name), name) for name in names)
    return {who.node: name for who, name in found if who is not None and who.lab == lab}


def tunnel_device(lab: str, node: str) -> str:
    """A node's WireGuard device: no other lab's has this name, as wireguard-go's sockets
    (/run/wireguard/DEVICE.sock) are not separated by network namespaces."""
    return f"{lab}-{node}"


def interface(peer: str) -> str:
    """A node's interface towards the node `peer`."""
    return f"to-{peer}"
