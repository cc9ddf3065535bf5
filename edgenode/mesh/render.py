"""The mesh in the format of wg-quick(8), for people to read: the private key is left out."""

from __future__ import annotations

from pathlib import Path

from edgenode.config import Mesh
from edgenode.mesh.plan import desired


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
    for configured, peer in zip(mesh.peers, want.peers, strict=True):
        lines += ["", f"# {configured.name}", "[Peer]", f"PublicKey = {peer.public_key}"]
        if peer.endpoint:
            lines.append(f"Endpoint = {peer.endpoint}")
        lines.append(f"AllowedIPs = {', '.join(str(network) for network in configured.allowed)}")
        if peer.keepalive:
            lines.append(f"PersistentKeepalive = {peer.keepalive}")
    return "\n".join(lines) + "\n"
