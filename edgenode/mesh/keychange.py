"""The node's own key is changed: which files lie beside it, and a switch that can be taken back.

A running control takes up what lies in the key's file; at no moment is it missing or half written.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgenode import durable
from edgenode.config.values import Endpoint
from edgenode.durable import sync_directory
from edgenode.mesh.errors import KeyFileError, MeshError, MeshUnavailable
from edgenode.mesh.keys import NOT_ALLOWED, PrivateKey, load_or_create
from edgenode.mesh.mesh import Mesh

LOOK = 0.25
"""Seconds between two looks at the peers."""


def next_file(path: Path) -> Path:
    """Where the key lies that is to come."""
    return path.with_name(f"{path.name}.next")


def former_file(path: Path) -> Path:
    """Where the key lies that was in place before the last switch."""
    return path.with_name(f"{path.name}.former")


def prepare(path: Path) -> PrivateKey:
    """The next key of the node whose key is in `path`; made when there is none.

    Raises KeyFileError.
    """
    return load_or_create(next_file(path))


def switch(path: Path) -> None:
    """The next key comes into place; the present one is the former then. Raises KeyFileError."""
    if not _there(next_file(path)):
        raise KeyFileError(
            f"there is no next key {next_file(path)}: make it with `edgenode mesh next-key`, and "
            "give it to the peers before this node switches"
        )
    prepare(path)  # a file that is damaged never comes into place
    _move(path, former_file(path), next_file(path))


def switch_back(path: Path) -> None:
    """The former key is in place again, and the present one is the next. Raises KeyFileError."""
    if not _there(former_file(path)):
        raise KeyFileError(f"there is no former key {former_file(path)}: this node never switched")
    load_or_create(former_file(path))
    _refuse_to_write_over(next_file(path), unless=(path, former_file(path)))
    _move(path, next_file(path), former_file(path))


def _refuse_to_write_over(coming: Path, unless: tuple[Path, Path]) -> None:
    """A next key that was prepared since: peers may wait for it. Raises KeyFileError.

    `unless`: the files of a switch that was cut short, of which two are one; `_move` knows them.
    """
    if not coming.exists() or coming.samefile(unless[0]) or unless[1].samefile(unless[0]):
        return
    raise KeyFileError(
        f"{coming} holds a key that was prepared since the last switch, and the way back would "
        "write over it: remove that file if no peer is to know its key"
    )


def _there(path: Path) -> bool:
    """Raises KeyFileError."""
    try:
        path.stat()
    except FileNotFoundError:
        return False
    except OSError as error:
        remedy = NOT_ALLOWED if isinstance(error, PermissionError) else ""
        raise KeyFileError(f"cannot look at {path}: {error.strerror}{remedy}") from error
    return True


def _move(path: Path, kept: Path, coming: Path) -> None:
    """`coming` takes the place of `path`, which is found at `kept` from then on; where the public
    key lies beside it for others to read (edgenode-keys.service), it goes along."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        if coming.samefile(path):  # to go on would write over the one in `kept`
            raise KeyFileError(
                f"{coming} is the key in place: a switch was interrupted; take it the other way"
            )
        if (public := path.with_suffix(".pub")).exists():  # first: a full disk moves nothing then
            durable.replace(public, load_or_create(coming).public + "\n", 0o644)
        os.link(path, draft)
        os.replace(draft, kept)
        os.replace(coming, path)
        sync_directory(path.parent)
    except OSError as error:
        raise KeyFileError(
            f"cannot change the WireGuard private key {path}: {error.strerror}"
            + (NOT_ALLOWED if isinstance(error, PermissionError) else "")
        ) from error
    finally:  # it stays even where `kept` is the same file already (rename(2))
        with contextlib.suppress(OSError):
            draft.unlink()


@dataclass(frozen=True)
class Outcome:
    public_key: str
    """The one that is in place now."""
    peers: frozenset[str]
    """Those that had a session before."""
    silent: frozenset[str]
    """Those of them that made no handshake with the new key: they do not know it."""
    undone: bool
    """Whether the key from before is in place again, for their sake."""


def change(
    mesh: Mesh,
    path: Path,
    endpoints: Mapping[str, Endpoint],
    *,
    back: bool = False,
    keep: bool = False,
    patience: float,
) -> Outcome:
    """Switch the key in `path`, or switch it back, unless that costs a peer its session.

    `patience`: seconds that peers have for a handshake; `keep`: the new key stays all the same.
    Raises MeshError, and leaves the key from before then.
    """
    peers = _living(mesh)
    there, again = (switch_back, switch) if back else (switch, switch_back)
    there(path)
    try:
        silent = _take_up(mesh, endpoints, peers, patience)
    except BaseException:
        again(path)
        with contextlib.suppress(MeshError):
            mesh.ensure(endpoints)
        raise
    undone = bool(silent) and not keep
    if undone:
        again(path)
        _take_up(mesh, endpoints, peers, patience)
    return Outcome(mesh.public_key, peers, silent, undone)


def _living(mesh: Mesh) -> frozenset[str]:
    """The peers with a session that a keepalive holds."""
    try:
        peers = mesh.observe().peers
    except MeshUnavailable:
        return frozenset()
    return frozenset(peer.name for peer in peers if peer.keepalive and not peer.stale)


def _take_up(
    mesh: Mesh, endpoints: Mapping[str, Endpoint], wanted: frozenset[str], patience: float
) -> frozenset[str]:
    """Bring the device in line with the key that is in place now, and wait for its handshakes.

    Returns those of the `wanted` peers that made none.
    """
    began = time.monotonic()
    mesh.ensure(endpoints)
    while True:
        silent = wanted - {
            peer.name
            for peer in mesh.observe().peers
            if peer.handshake_age is not None and peer.handshake_age < time.monotonic() - began
        }
        left = began + patience - time.monotonic()
        if not silent or left <= 0:
            return silent
        time.sleep(min(LOOK, left))
