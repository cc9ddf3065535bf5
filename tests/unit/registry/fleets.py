"""Records of a small fleet, and the configuration that they meet."""

from __future__ import annotations

import json
from typing import Any

from edgenode.config import Config
from edgenode.config.registry import Registry
from edgenode.registry.presence import Times
from edgenode.registry.records import Layout
from edgenode.registry.served import Served
from edgenode.registry.snapshot import Entry, Rules, Snapshot
from tests.unit.regions.worlds import config

LAYOUT = Layout("/edgenode")
TIMES = Times(linger=10.0, hold=3600.0)
KEY = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="


def fleet() -> Config:
    """Regions fra and iad, of which fra has a configured worker; one peer leads to all."""
    mesh = {
        "addresses": ["198.51.100.193"],
        "peers": [{"name": "fra", "public_key": KEY, "allowed": ["10.1.0.0/16"]}],
    }
    regions: list[dict[str, Any]] = [
        {"name": "fra", "workers": [{"name": "fixed", "addresses": ["10.1.0.1"]}]},
        {"name": "iad"},
    ]
    services = [{"name": "web", "group": "web", "listen": ["203.0.113.1:80"], "port": 8080}]
    registry = Registry.model_validate({"endpoints": ["http://127.0.0.1:2379"]})
    return config(mesh=mesh, regions=regions, services=services).model_copy(
        update={"registry": registry}
    )


RULES = Rules.of(fleet())


def entry(who: str, at: int, value: bytes | None = None, **more: Any) -> Entry:
    """A record that was made at a revision; `at` is in its address, too, unless one is given."""
    content = {"identity": f"machine-{at}", "addresses": [f"10.1.1.{at}"], **more}
    raw = json.dumps(content).encode() if value is None else value
    return Entry(f"/edgenode/workers/{who}", raw, at, at)


def snapshot(*entries: Entry) -> Snapshot:
    return Snapshot(
        {each.key: each for each in entries}, max((e.modified for e in entries), default=1), "c"
    )


def served(*entries: Entry, now: float = 0.0) -> Served:
    return Served(LAYOUT, RULES, TIMES).after(snapshot(*entries), now)


def names(state: Served) -> list[str]:
    return [str(who) for who in state.presence.workers]
