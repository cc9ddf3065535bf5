"""The mesh: one WireGuard device between the edges and the worker regions."""

from edgenode.mesh.errors import KeyFileError, MeshError, MeshUnavailable, PlanError
from edgenode.mesh.mesh import Mesh, Observed, PeerStatus
from edgenode.mesh.render import render

__all__ = [
    "KeyFileError",
    "Mesh",
    "MeshError",
    "MeshUnavailable",
    "Observed",
    "PeerStatus",
    "PlanError",
    "render",
]
