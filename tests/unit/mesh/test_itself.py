"""A peer with the node's own key holds up nobody else."""

from pathlib import Path

import pytest

from edgenode.config import schema
from edgenode.mesh import Mesh, device, link
from edgenode.mesh.keys import load_or_create
from edgenode.mesh.state import DeviceChange, DeviceState, PeerState, SetPeer
from tests.unit.mesh.worlds import EMPTY, OWN, public_key


class Device:
    """One that has what it was told."""

    def __init__(self) -> None:
        self.public_key: str | None = None
        self.peers: dict[str, PeerState] = {}

    def current(self) -> DeviceState:
        return DeviceState(self.public_key, 51820, tuple(self.peers.values()))

    def apply(self, changes: list[DeviceChange]) -> None:
        for change in changes:
            if isinstance(change, SetPeer):
                self.peers[change.peer.public_key] = PeerState(**vars(change.peer))


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Device:
    made = Device()
    found = link.Link(7, kind="wireguard", mtu=1420, up=True)
    monkeypatch.setattr(device, "select", lambda *_: (made, found))
    monkeypatch.setattr(device, "open_device", lambda *_: made)
    monkeypatch.setattr(link, "find", lambda *_: found)
    monkeypatch.setattr(link, "addresses", lambda *_: frozenset(OWN))
    monkeypatch.setattr(link, "current", lambda *_: EMPTY.link)
    monkeypatch.setattr(link, "apply", lambda *_: None)
    return made


def test_the_other_peers_are_set_up_and_it_is_named(tmp_path: Path, fake: Device) -> None:
    own = load_or_create(tmp_path / "key").public
    peers: list[dict[str, object]] = [
        {"name": "me", "public_key": own},
        {"name": "fra", "public_key": public_key(1)},
        {"name": "iad", "public_key": public_key(2), "next_public_key": own},
    ]
    for n, peer in enumerate(peers):
        peer["allowed"] = [f"198.51.100.{n}/32"]
    config = schema.Mesh.model_validate({"addresses": ["198.51.100.193"], "peers": peers})
    mesh = Mesh(config, tmp_path / "key")
    mesh.ensure()
    assert [*fake.peers] == [public_key(1), public_key(2)]
    assert all(peer.allowed for peer in fake.peers.values())
    fake.public_key = own
    seen = mesh.observe()
    assert seen.whole, "it is not made anew again and again"
    assert seen.problems.keys() == {"me", "iad"}
    assert seen.problems["me"].startswith("its public_key is this node's own")
    assert seen.problems["iad"].startswith("its next_public_key is this node's own")
