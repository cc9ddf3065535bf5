"""Configurations with regions, and states of their targets."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from edgenode.config import Config
from edgenode.health.risefall import State
from edgenode.regions.ranking import States, TargetState
from edgenode.regions.registry import Registry, TargetKey, from_config
from edgenode.steering.table import Bind

BIND = Bind("wg0", "198.51.100.193", "2001:db8:ffff:1::1")


def config(**sections: Any) -> Config:
    """Three regions of two workers; `web` uses all, `mail` (port 2525) only fra and iad."""
    content: dict[str, Any] = {
        "node": {"name": "lon1"},
        "bgp": {
            "asn": 64701,
            "router_id": "198.51.100.1",
            "neighbors": [{"name": "t", "address": "198.51.100.3", "asn": 64601}],
        },
        "groups": [{"name": "web", "prefixes": ["203.0.113.0/24"], "addresses": ["203.0.113.1"]}],
        "services": [
            {"name": "web", "group": "web", "listen": ["203.0.113.1:80"], "port": 8080},
            {
                "name": "mail",
                "group": "web",
                "listen": ["203.0.113.1:25"],
                "port": 2525,
                "proxy_protocol": "none",
                "regions": ["fra", "iad"],
            },
        ],
        "regions": [
            {
                "name": name,
                "workers": [
                    {"name": f"{name}-{w}", "addresses": [f"198.51.100.{200 + 8 * r + w}"]}
                    for w in (1, 2)
                ],
            }
            for r, name in enumerate(("fra", "iad", "sin"))
        ],
    }
    return Config.model_validate({**content, **sections})


REGISTRY = from_config(config(), BIND)


def states(
    rtts: Mapping[str, float | None],
    exceptions: dict[TargetKey, State] | None = None,
    registry: Registry = REGISTRY,
) -> States:
    """Each region's targets are UP at a distance in milliseconds; None: DOWN; absent: UNKNOWN."""
    found = {}
    for target in registry.targets:
        region = target.key.region
        rtt = rtts.get(region)
        up = State.UP if rtt is not None else State.DOWN
        state = up if region in rtts else State.UNKNOWN
        state = (exceptions or {}).get(target.key, state)
        found[target.key] = TargetState(state, rtt / 1000 if rtt is not None else None, "", 0.0)
    return found


def with_keys(
    web: Mapping[str, Any] = MappingProxyType({}),
    **regions: Mapping[str, Any],
) -> Registry:
    """The registry with more keys of service `web`, of regions ("fra") and workers ("fra_1")."""
    content = config().model_dump(mode="json", exclude_unset=True)
    content["services"][0] |= web
    for region in content["regions"]:
        region |= regions.get(region["name"], {})
        for worker in region["workers"]:
            worker |= regions.get(worker["name"].replace("-", "_"), {})
    return from_config(Config.model_validate(content), BIND)


def names(service: Any) -> list[str]:
    """The regions of a table's service, in order."""
    return [region.region for region in service.regions]


def workers(service: Any) -> list[str]:
    """The workers of a table's service, in order."""
    return [worker.worker for region in service.regions for worker in region.workers]
