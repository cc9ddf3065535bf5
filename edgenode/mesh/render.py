"""The mesh in the format of wg-quick(8), for people to read: secret keys are left out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edgenode.config import Mesh, MeshPeer
from edgenode.mesh.plan import desired
from edgenode.mesh.state import Peer


def render(mesh: Mesh, private_key_file: Path, public_key: str | None = None) -> str:
    """What `ensure` would set. Raises PlanError for a mesh that cannot work."""
    want = desired(mesh, public_key or "")
    lines = ["[Interface]", f"# PrivateKey is in {private_key_file}"]
    if public_key:
        lines.append(f"# PublicKey = {public_key}")
    lines += [
        f"ListenPort = {want.listen_port}",
        f"Address = {', '.join(str(address) for address in mesh.addresses)}",
        f"MTU = {want.mtu}",
    ]
    peers = {peer.public_key: peer for peer in want.peers}
    for configured in mesh.peers:
        lines += ["", f"# {configured.name}", "[Peer]"]
        lines += _peer(configured, peers[configured.public_key])
        if configured.next_public_key:
            lines += ["", f"# {configured.name}, under its next key", "[Peer]"]
            lines += _peer(configured, peers[configured.next_public_key])
    return "\n".join(lines) + "\n"


def _peer(configured: MeshPeer, peer: Peer) -> Iterator[str]:
    yield f"PublicKey = {peer.public_key}"
    if configured.preshared_key_file:
        yield f"# PresharedKey is in {configured.preshared_key_file}"
    if configured.endpoint:
        yield f"Endpoint = {configured.endpoint}"
    if peer.allowed:
        yield f"AllowedIPs = {', '.join(str(network) for network in configured.allowed)}"
    if peer.keepalive:
        yield f"PersistentKeepalive = {peer.keepalive}"
