"""The node's mesh: brought in line with the configuration, and looked at."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from edgenode.config import schema
from edgenode.config.values import Endpoint
from edgenode.mesh import device, link
from edgenode.mesh.ages import Ages
from edgenode.mesh.errors import MeshError, MeshUnavailable
from edgenode.mesh.itself import others
from edgenode.mesh.keyfiles import KeyFiles
from edgenode.mesh.plan import REJECT_AFTER_TIME, Known, desired, plan
from edgenode.mesh.rotation import under_next
from edgenode.mesh.routes import Mtus
from edgenode.mesh.state import Change, Current, DeviceState, PeerState

NO_NAMES: Mapping[str, Endpoint] = MappingProxyType({})


@dataclass(frozen=True)
class Observed:
    """What there is of the mesh."""

    peers: tuple[PeerStatus, ...]
    """The configured ones, in the configuration's order."""
    whole: bool
    """Whether the device is up and has every peer and address that is configured: else it was
    made anew, or tampered with, and wants `ensure`. Routes, which may be a million, are not
    looked at."""
    public_key: str = ""
    """The node's own."""
    problems: Mapping[str, str] = field(default_factory=dict)
    """By the name of a peer: why it is left as it is."""
    problem: str = ""
    """What is wrong with the node's own key file, which does not keep it from its mesh."""


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
    next_key: bool = False
    """Whether it speaks under its `next_public_key`."""

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

    def __init__(
        self, config: schema.Mesh, private_key_file: Path, before: Mesh | None = None
    ) -> None:
        """`before`: the same device under the configuration before, of which what is known goes
        on."""
        self._config = config
        self._files: KeyFiles = before._files if before else KeyFiles(private_key_file)
        self._configured: dict[str, Endpoint | None] = dict(before._configured) if before else {}
        self._ages: Ages = before._ages if before else Ages()
        self._turn: threading.Lock = before._turn if before else threading.Lock()
        self._mtus: Mtus = {}

    @property
    def public_key(self) -> str:
        """The node's own; its key is made at the first call ever. Raises KeyFileError."""
        return self._files.private().public

    def size(self, mtus: Mapping[str, int | None]) -> None:
        """From the next `ensure` on: the MTU of the routes to peers, by name; None: the device's.

        The routes of peers that are not named stay as they are.
        """
        self._mtus = {
            key: mtus[peer.name]
            for peer in self._config.peers
            if peer.name in mtus
            for key in (peer.public_key, peer.next_public_key)
            if key is not None
        }

    def ensure(self, endpoints: Mapping[str, Endpoint] = NO_NAMES) -> tuple[Change, ...]:
        """Bring the device in line, and return what had to change: nothing when it was right.

        `endpoints` has what the names of endpoints stand for, by the peers' names. Raises
        MeshError. Harmless to repeat, which also heals a wireguard-go that was restarted.
        """
        with self._exclusive():
            key = self._files.private()
            chosen, found = device.select(self._config.device, key)
            have = Current(chosen.current(), link.current(self._config.device, found))
            ages = self._handshake_ages(have.device)
            config, known = self._known(have.device, ages, endpoints, key.public)
            want = desired(config, key.public, known)
            todo = plan(want, have, ages, self._configured, self._mtus)
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
            key = self._files.private()
            state = device.open_device(name, key, found).current()
            ages = self._handshake_ages(state)
            addresses = {interface.ip for interface in link.addresses(name, found)}
            replaced = self._files.changed(self._config.peers)
        present = {peer.public_key: peer for peer in state.peers}
        peers, own = others(self._config.peers, key.public)
        after = under_next(peers, present, ages)
        return Observed(
            tuple(_status(p, p.name in after, present, ages) for p in self._config.peers),
            found.up
            and not replaced
            and state.public_key == key.public
            and addresses.issuperset(self._config.addresses)
            and all(self._placed(p, p.name in after, present) for p in peers),
            key.public,
            {**self._files.problems, **own},
            self._files.own_problem,
        )

    def _known(
        self,
        have: DeviceState,
        ages: Mapping[str, float],
        endpoints: Mapping[str, Endpoint],
        public_key: str,
    ) -> tuple[schema.Mesh, Known]:
        """What `desired` has to know, and the configuration without the peers that cannot be
        added: one whose preshared key cannot be read is left as it is, one with our own key is
        left out, and neither disturbs another."""
        present = {peer.public_key: peer for peer in have.peers}
        preshared = self._files.preshared(self._config.peers)
        kept = []
        for peer in others(self._config.peers, public_key)[0]:
            if peer.name in self._files.problems:
                state = present.get(peer.public_key)
                if state is None:
                    continue
                if state.preshared is not None:
                    preshared[peer.name] = state.preshared
            kept.append(peer)
        known = Known(preshared, endpoints, under_next(kept, present, ages))
        return self._config.model_copy(update={"peers": tuple(kept)}), known

    def _placed(self, peer: schema.MeshPeer, after: bool, present: Mapping[str, PeerState]) -> bool:
        """Whether a peer is there, and its addresses are under the key that it has now."""
        if peer.name in self._files.problems:
            return True
        keys = [key for key in (peer.public_key, peer.next_public_key) if key is not None]
        holder = present.get(keys[-1] if after else keys[0])
        return present.keys() >= set(keys) and bool(holder and holder.allowed)

    def _handshake_ages(self, state: DeviceState) -> dict[str, float]:
        return self._ages.update(state.peers, time.time(), time.monotonic())

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


def _status(
    peer: schema.MeshPeer,
    after: bool,
    present: Mapping[str, PeerState],
    ages: Mapping[str, float],
) -> PeerStatus:
    key = peer.next_public_key if after and peer.next_public_key else peer.public_key
    state = present.get(key)
    keepalive = peer.keepalive > 0
    if state is None:
        return PeerStatus(peer.name, None, 0, 0, None, keepalive, after)
    endpoint = str(state.endpoint) if state.endpoint else None
    return PeerStatus(peer.name, ages.get(key), state.rx, state.tx, endpoint, keepalive, after)
