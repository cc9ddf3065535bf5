"""The files of a mesh's keys: read once, and again when they were replaced. Blocks."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from edgenode.config import MeshPeer
from edgenode.mesh.errors import KeyFileError
from edgenode.mesh.keys import PresharedKey, PrivateKey, Version, load_or_create, load_preshared


class KeyFiles:
    """Remembers the keys, and never shows them."""

    def __init__(self, private_key_file: Path) -> None:
        self._private_file = private_key_file
        self._private: PrivateKey | None = None
        self._preshared: dict[Path, PresharedKey] = {}
        self._versions: dict[Path, Version | None] = {}
        self.own_problem = ""
        """Why the node's own key file cannot be used any more, as a sentence."""
        self.problems: dict[str, str] = {}
        """By the name of the peer: why its preshared key cannot be used, as a sentence."""

    def private(self) -> PrivateKey:
        """The node's own key, made at the first call ever. Raises KeyFileError.

        A running node whose file vanishes keeps its key: it must not make another one. So does one
        whose file cannot be used any more (`own_problem`): it goes on looking after its mesh.
        """
        version = Version.of(self._private_file)
        known = self._versions.get(self._private_file)
        if self._private is None:
            self._private = load_or_create(self._private_file)
            self._versions[self._private_file] = Version.of(self._private_file)
        elif version not in (None, known):
            self._versions[self._private_file] = version
            self.own_problem = ""
            try:
                self._private = load_or_create(self._private_file)
            except KeyFileError as error:
                self.own_problem = f"{error}; the key that it had is used meanwhile"
        return self._private

    def preshared(self, peers: Iterable[MeshPeer]) -> dict[str, PresharedKey]:
        """By the peers' names. One whose file cannot be used is missing, and among `problems`."""
        found: dict[str, PresharedKey] = {}
        problems: dict[str, str] = {}
        for peer in peers:
            path = peer.preshared_key_file
            if path is None:
                continue
            version = Version.of(path)
            if version is None or version != self._versions.get(path):
                self._preshared.pop(path, None)
            self._versions[path] = version
            try:
                if path not in self._preshared:
                    self._preshared[path] = load_preshared(path)
                found[peer.name] = self._preshared[path]
            except KeyFileError as error:
                problems[peer.name] = str(error)
        self.problems = problems
        return found

    def changed(self, peers: Iterable[MeshPeer]) -> bool:
        """Whether a preshared key's file was replaced or changed since `preshared`."""
        paths = [peer.preshared_key_file for peer in peers if peer.preshared_key_file]
        return any(
            version is not None and version != self._versions.get(path)
            for path in paths
            for version in (Version.of(path),)
        )
