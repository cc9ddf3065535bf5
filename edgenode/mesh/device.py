"""Which WireGuard there is: the kernel's own, or wireguard-go's through its socket."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from edgenode.mesh import link
from edgenode.mesh.errors import MeshError, MeshUnavailable
from edgenode.mesh.kernel import KernelDevice
from edgenode.mesh.keys import PrivateKey
from edgenode.mesh.state import DeviceChange, DeviceState
from edgenode.mesh.uapi import UapiDevice, socket_path


class Device(Protocol):
    """The part of a mesh device that WireGuard knows: keys, port, peers."""

    def current(self) -> DeviceState:
        """Raises MeshError."""
        ...

    def apply(self, changes: Sequence[DeviceChange]) -> None:
        """Raises MeshError."""
        ...


def select(name: str, key: PrivateKey) -> tuple[Device, link.Link]:
    """The device of this name, which is made when the kernel can.

    Raises MeshUnavailable when there is none and none can be made, else MeshError.
    """
    found = link.find(name)
    if found is None:
        if socket_path(name).exists():
            raise MeshUnavailable(
                f"{socket_path(name)} is there but the device {name} is not: "
                f"stop what is left of it and start `wireguard-go -f {name}` again"
            )
        link.create(name)
        found = link.find(name)
        if found is None:
            raise MeshError(f"the WireGuard device {name} vanished as soon as it was made")
    return open_device(name, key, found), found


def open_device(name: str, key: PrivateKey, found: link.Link) -> Device:
    """The back end for a device that exists. Raises MeshUnavailable."""
    if found.kind == "wireguard":
        return KernelDevice(name, key)
    if socket_path(name).exists():
        return UapiDevice(name, key)
    raise MeshUnavailable(
        f"the device {name} is no WireGuard device ({found.kind or 'plain'}): "
        "choose another name for mesh.device, or remove that one"
    )
