"""A configuration for the tests of this room."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from edgenode.config import Config

MakeConfig = Callable[..., Config]


def make(**changes: Any) -> Config:
    """Two groups, one of which outlives control, and a neighbor per family."""
    raw: dict[str, Any] = {
        "node": {"name": "lon1"},
        "bgp": {
            "asn": 64701,
            "router_id": "198.51.100.1",
            "neighbors": [
                {"name": "transit", "address": "198.51.100.3", "asn": 64601},
                {"name": "transit-6", "address": "2001:db8:ffff::3", "asn": 64601},
            ],
        },
        "groups": [
            {
                "name": "web",
                "prefixes": ["203.0.113.0/24", "2001:db8:113::/48"],
                "addresses": ["203.0.113.1", "2001:db8:113::1"],
                "checks": ["nginx"],
            },
            {
                "name": "dns",
                "prefixes": ["192.0.2.0/24"],
                "checks": ["nginx"],
                "on_control_loss": "keep",
            },
        ],
        "checks": [{"name": "nginx", "type": "tcp", "target": "192.0.2.1:80"}],
    }
    return Config.model_validate(raw | changes)


@pytest.fixture(scope="session")
def make_config() -> MakeConfig:
    return make


@pytest.fixture(scope="session")
def config() -> Config:
    return make()
