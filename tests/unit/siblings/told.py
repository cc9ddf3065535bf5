"""Messages as siblings send them, for tests."""

from __future__ import annotations

from typing import Any

from edgenode.regions.evidence import RegionStands, ServiceStands
from edgenode.siblings.message import Identity, Message, Telling, decode, encode

KEY = "A" * 43 + "="
OWN = Identity("lon1", "0" * 16, ("198.51.100.193", "2001:db8:ffff:1::1"), KEY)
WEB = ServiceStands(
    True, 99.5, 0.0, (RegionStands("fra", up=2, down=0), RegionStands("iad", up=0, down=2))
)


def message(number: int = 1, at: float = 100.0, **changes: Any) -> Message:
    """What nyc1 says."""
    said: dict[str, Any] = {
        "node": "nyc1",
        "boot": "1" * 16,
        "key": "B" * 43 + "=",
        "mesh": ["198.51.100.194"],
        "number": number,
        "at": at,
        "services": [service()],
    }
    return Message.model_validate(said | changes)


def service(reachable: bool | None = True, silent: float | None = 0.5) -> dict[str, Any]:
    return {"name": "web", "reachable": reachable, "silent": silent}


def roundtrip(telling: Telling, now: float = 100.0) -> list[Message]:
    return [decode(each) for each in encode(OWN, telling, 7, now)]
