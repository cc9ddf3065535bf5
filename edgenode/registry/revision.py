"""Which state of the registry a node serves from: what edges tell each other."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

DIGEST = 16
"""Hexadecimal digits: enough to tell states of one fleet apart."""


@dataclass(frozen=True)
class Revision:
    """Two edges with the same `digest` steer to the same workers.

    Where digests differ, the one with the lower `number` is behind, if that lasts longer than an
    event takes (seconds). Numbers say nothing where a kind is `config`.
    """

    kind: Literal["config", "etcd"]
    number: int | None
    """etcd's revision up to which the workers are known; None: not yet, or of `config`."""
    digest: str
    """Of the workers: region, name, addresses and the rest that steering heeds."""
    age: float
    """Seconds since etcd was last heard of; 0 of the configuration."""

    def to_json(self) -> dict[str, Any]:
        """As it goes to other edges and into `status`."""
        return {
            "kind": self.kind,
            "number": self.number,
            "digest": self.digest,
            "age": round(self.age, 1),
        }


def digest(lines: Iterable[str]) -> str:
    """Of workers, a line each, in whatever order."""
    text = "\n".join(sorted(lines))
    return hashlib.sha256(text.encode()).hexdigest()[:DIGEST]
