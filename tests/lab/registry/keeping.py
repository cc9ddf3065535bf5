"""An edge's keeper of the registry, at work in a thread of a namespace."""

from __future__ import annotations

import json
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgenode.config import Config
from edgenode.config.registry import Registry
from edgenode.control.registry import RegistryKeeper
from edgenode.lab.waiting import wait_until
from tests.lab.loops import at_work
from tests.unit.registry.fleets import fleet


@dataclass
class Edge:
    """What it has made of the registry so far."""

    keeper: RegistryKeeper
    told: list[str] = field(default_factory=list)
    seen: list[Config] = field(default_factory=list)

    @property
    def workers(self) -> list[str]:
        """Those that registered, as they are steered to now."""
        regions = self.keeper.merged.regions
        return [f"{r.name}/{w.name}" for r in regions for w in r.workers if w.name != "fixed"]

    @property
    def status(self) -> dict[str, Any]:
        return self.keeper.status()

    def until(self, *workers: str, within: float = 8.0) -> None:
        wait_until(lambda: self.workers == [*workers], within, f"{workers}, not {self.workers}")

    def heard(self, text: str, within: float = 8.0) -> None:
        wait_until(
            lambda: any(text in each for each in self.told), within, f"{text!r} in {self.told}"
        )


def configured(state: Path, endpoints: list[str], **settings: Any) -> Config:
    made = fleet()
    quick = {"look_interval": 0.2, "linger": 0.5, "timeout": 1.0}
    registry = Registry.model_validate({"endpoints": endpoints, **quick, **settings})
    node = made.node.model_copy(update={"state_dir": state})
    return made.model_copy(update={"registry": registry, "node": node})


@contextmanager
def keeping(namespace: str, config: Config) -> Iterator[Edge]:
    def begin() -> tuple[Edge, Coroutine[Any, Any, None]]:
        told: list[str] = []
        keeper = RegistryKeeper(
            config, lambda kind, subject, text: told.append(f"{subject}: {text}")
        )
        edge = Edge(keeper, told)
        return edge, keeper.run(edge.seen.append)

    with at_work(namespace, begin) as edge:
        yield edge


def record(n: int, **more: Any) -> str:
    """As a worker would write it."""
    return json.dumps({"identity": f"machine-{n}", "addresses": [f"10.1.1.{n}"], **more})
