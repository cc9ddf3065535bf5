"""The node's mesh: brought in line with the configuration, and looked at."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edgenode.config import schema
from edgenode.config.values import Endpoint
from edgenode.mesh import device, link
from edgenode.mesh.ages import Ages
from edgenode.mesh.errors import MeshError, MeshUnavailable
from edgenode.mesh.keys import PrivateKey, load_or_create
from edgenode.mesh.plan import REJECT_AFTER_TIME, desired, plan
from edgenode.mesh.routes import Mtus
from edgenode.mesh.state import Change, Current, DeviceState, PeerState


@dataclass(frozen=True)
class Observed:
    """What there is of the mesh."""

    peers: tuple[PeerStatus, ...]
    """The configured ones, in the configuration's order."""
    whole: bool
    """Whether the device is up and has every peer and address that is configured: else it was
    made anew, or tampered with, and wants `ensure`. Routes, which may be a million, are not
    looked at."""


@dataclass(frozen=True)
class PeerStatus:
    """A configured peer, as the device has it."""

    name: str
    handshake_age: float | None
    """Seconds; None: there was never one."""
    rx: int
    tx: int
    endpoint: str | None
    """Where it last spoke from."""
    keepalive: bool

    @property
    def stale(self) -> bool:
        """No live session, though its keepalive would hold one.

        Without keepalive an old handshake only says that nobody spoke.
        """
        return self.keepalive and (
            self.handshake_age is None or self.handshake_age > REJECT_AFTER_TIME
        )


class Mesh:
    """One WireGuard device. Blocks: call it in a thread. Calls take turns, and wait 5 s at most."""

    def __init__(self, config: schema.Mesh, private_key_file: Path) -> None:
        self._config = config
        self._key_file = private_key_file
        self._key: PrivateKey | None = None
        self._configured: dict[str, Endpoint | None] = {}
        self._ages = Ages()
        self._mtus: Mtus = {}
        self._turn = threading.Lock()

    @property
    def public_key(self) -> str:
        """The node's own; its key is made at the first call ever. Raises KeyFileError."""
        return self._private_key().public

    def size(self, mtus: Mapping[str, int | None]) -> None:
        """From the next `ensure` on: the MTU of the routes to peers, by name; None: the device's.

        The routes of peers that are not named stay as they are.
        """
        keys = {peer.name: peer.public_key for peer in self._config.peers}
        self._mtus = {keys[name]: mtu for name, mtu in mtus.items() if name in keys}

    def ensure(self) -> tuple[Change, ...]:
        """Bring the device in line, and return what had to change: nothing when it was right.

        Raises MeshError. Harmless to repeat, which also heals a wireguard-go that was restarted.
        """
        with self._exclusive():
            key = self._private_key()
            want = desired(self._config, key.public)
            chosen, found = device.select(self._config.device, key)
            have = Current(chosen.current(), link.current(self._config.device, found))
            todo = plan(want, have, self._handshake_ages(have.device), self._configured, self._mtus)
            link.apply(self._config.device, found, todo.leaving)
            if todo.device:
                chosen.apply(todo.device)
            link.apply(self._config.device, found, todo.link)
            self._configured = {peer.public_key: peer.endpoint for peer in want.peers}
            return todo.changes

    def observe(self) -> Observed:
        """Look at the device. Changes nothing.

        Raises MeshError, MeshUnavailable when the device is not there.
        """
        with self._exclusive():
            name = self._config.device
            found = link.find(name)
            if found is None:
                raise MeshUnavailable(f"the WireGuard device {name} is not there")
            state = device.open_device(name, self._private_key(), found).current()
            ages = self._handshake_ages(state)
            addresses = {interface.ip for interface in link.addresses(name, found)}
        present = {peer.public_key: peer for peer in state.peers}
        configured = self._config.peers
        return Observed(
            tuple(
                _status(p, present.get(p.public_key), ages.get(p.public_key)) for p in configured
            ),
            found.up
            and addresses.issuperset(self._config.addresses)
            and present.keys() >= {peer.public_key for peer in configured},
        )

    def _handshake_ages(self, state: DeviceState) -> dict[str, float]:
        return self._ages.update(state.peers, time.time(), time.monotonic())

    def _private_key(self) -> PrivateKey:
        if self._key is None:
            self._key = load_or_create(self._key_file)
        return self._key

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """The caller may have given up on an earlier call that still runs in its thread."""
        if not self._turn.acquire(timeout=5.0):
            raise MeshError(
                f"an earlier operation on {self._config.device} has not ended: see whether "
                "wireguard-go hangs"
            )
        try:
            yield
        finally:
            self._turn.release()


def _status(peer: schema.MeshPeer, state: PeerState | None, age: float | None) -> PeerStatus:
    keepalive = peer.keepalive > 0
    if state is None:
        return PeerStatus(peer.name, None, 0, 0, None, keepalive)
    endpoint = str(state.endpoint) if state.endpoint else None
    return PeerStatus(peer.name, age, state.rx, state.tx, endpoint, keepalive)
