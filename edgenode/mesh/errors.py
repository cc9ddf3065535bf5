"""What goes wrong with the mesh, in sentences for the operator."""


class MeshError(Exception):
    """The mesh could not be read or changed: what was tried, on what, what to do."""


class MeshUnavailable(MeshError):
    """There is no WireGuard device, and none can be made."""


class PlanError(MeshError, ValueError):
    """The configuration asks for a mesh that cannot work."""


class KeyFileError(MeshError):
    """The private key's file cannot be used."""
