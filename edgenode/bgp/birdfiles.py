"""The configuration that BIRD shall run with, and the files that it lies in.

Three kinds: the configuration itself, which anybody may read; the passwords, and our copies of
what the operator includes, which are BIRD's group's alone. The copies are made so that a file that
is edited does nothing until it was checked and applied, and so that a BIRD that starts never finds
half a file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

from edgenode.bgp.client import Version
from edgenode.bgp.files import BIRD_GROUP, FileError, keep, remove, sync
from edgenode.bgp.filters import Towards
from edgenode.bgp.levels import Level
from edgenode.bgp.names import password_name
from edgenode.bgp.render import (
    OURS,
    configuration_fingerprint,
    include_file,
    render,
    render_secrets,
    secrets_file,
)
from edgenode.config import Config, includes, secrets

_COPY = f"/*{OURS[1:]}, a copy */ "
"""Before a copy's first line: the numbers of its lines stay those of its source."""


def read_passwords(config: Config) -> dict[str, str]:
    """The neighbors' passwords from their files. Raises `config.secrets.SecretError`."""
    return {
        neighbor.name: secrets.read(neighbor.password_file)
        for neighbor in config.bgp.neighbors
        if neighbor.password_file
    }


def read_includes(config: Config) -> tuple[str, ...]:
    """The texts of `bgp.include`. Raises FileError."""
    try:
        return tuple(includes.read(path) for path in config.bgp.include)
    except includes.IncludeError as error:
        raise FileError(f"{error} (bgp.include)") from None


def standing(config: Config, towards: Towards) -> BirdFiles | None:
    """What a control before us has written of this very configuration; None: of another one.

    Where a file that it was made from has gone since, BIRD can go on with it.
    """
    try:
        path = config.bgp.config
        text = path.read_text("utf-8")
        held = secrets_file(path).read_text("utf-8") if secrets_file(path).exists() else ""
        copies = [include_file(path, n).read_text("utf-8") for n in range(len(config.bgp.include))]
        passwords = {
            neighbor.name: found[1]
            for neighbor in config.bgp.neighbors
            if (found := re.search(rf'define {password_name(neighbor.name)} = "(.*)";', held))
        }
        includes = tuple(copy.removeprefix(_COPY) for copy in copies)
        files = BirdFiles(config, passwords, includes, towards)
    except (OSError, ValueError):
        return None
    return files if f'"{files.fingerprint}"' in text else None


@dataclass(frozen=True)
class BirdFiles:
    """What is to be written, whatever the levels."""

    config: Config
    passwords: Mapping[str, str] = field(repr=False)
    includes: Sequence[str] = field(default=(), repr=False)
    towards: Towards = frozenset()
    """Pairs of group and neighbor: degraded there alone."""
    fingerprint: str = field(init=False)

    def __post_init__(self) -> None:
        fingerprint = configuration_fingerprint(
            self.config, self.passwords, towards=self.towards, includes=self.includes
        )
        object.__setattr__(self, "fingerprint", fingerprint)

    def degraded(self, towards: Towards) -> BirdFiles:
        """The same with other pairs. With passwords it computes for some 20 ms."""
        return replace(self, towards=towards)

    @property
    def path(self) -> Path:
        """The file that BIRD reads."""
        return self.config.bgp.config

    @property
    def candidate(self) -> Path:
        """The file that BIRD is asked about before it may read it."""
        return self.path.with_name(f"{self.path.stem}-candidate{self.path.suffix}")

    def write(
        self,
        levels: Mapping[str, Level],
        version: Version | None,
        path: Path | None = None,
        *,
        lasting: bool = True,
    ) -> None:
        """All files, with the groups at these levels, where they are not so yet.

        What the configuration includes is there before the configuration. `lasting`: it waits for
        the disk; else that is for `sync`. Raises FileError.
        """
        path = path or self.path
        if self.passwords:
            text = render_secrets(self.config, self.passwords)
            keep(secrets_file(path), text, mode=0o640, group=BIRD_GROUP, lasting=lasting)
        for position, text in enumerate(self.includes):
            copy = include_file(path, position)
            keep(copy, _COPY + text, mode=0o640, group=BIRD_GROUP, lasting=lasting)
        text = render(
            self.config, levels, self.fingerprint, towards=self.towards, version=version, path=path
        )
        keep(path, text, mode=0o644, lasting=lasting)
        if not self.passwords:
            remove(secrets_file(path), OURS)
        _remove_copies(path, len(self.includes))

    def sync(self) -> None:
        """Wait until what `write` wrote is on the disk. Raises FileError."""
        copies = [include_file(self.path, position) for position in range(len(self.includes))]
        for path in (secrets_file(self.path), *copies, self.path):
            sync(path)

    def remove_candidate(self) -> None:
        """What `write` made at `candidate`. Raises FileError."""
        remove(self.candidate, OURS)
        remove(secrets_file(self.candidate), OURS)
        _remove_copies(self.candidate, 0)


def _remove_copies(path: Path, first: int) -> None:
    for position in count(first):
        copy = include_file(path, position)
        if not copy.exists():
            return
        remove(copy, _COPY)
        if copy.exists():
            return  # somebody else's
