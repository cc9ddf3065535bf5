"""A worker's end of the registry, beside an etcd that is played; tests/lab has the real one."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Mapping
from typing import Any

import pytest

from edgenode.registry.etcd import NOT_FOUND, Refused, encoded
from edgenode.registry.member import Member, MemberError
from edgenode.registry.records import Layout, Record, WorkerId

WHO = WorkerId("fra", "w1")
KEY = encoded(Layout("/edgenode").worker(WHO))
HEADER = {"cluster_id": "1", "revision": "9"}


class Played:
    """Grants leases that end when told to, and holds one record."""

    def __init__(self) -> None:
        self.leases: set[str] = set()
        self.granted = 0
        self.held: dict[str, Any] | None = None

    def holds(self, record: Record | None) -> None:
        self.held = None
        if record is not None:
            self.held = {"key": KEY, "value": encoded(record.render()), "mod_revision": "5"}

    async def call(self, path: str, body: Mapping[str, Any], **_: object) -> Mapping[str, Any]:
        if path == "kv/range":
            return {"header": HEADER, "kvs": [self.held] if self.held else []}
        if path == "lease/grant":
            self.granted += 1
            self.leases.add(str(self.granted))
            return {"ID": str(self.granted)}
        assert path == "kv/txn"
        put = body["success"][0]["request_put"]
        if put["lease"] not in self.leases:
            raise Refused("etcdserver: requested lease not found", NOT_FOUND)
        self.held = {"key": KEY, "value": put["value"], "mod_revision": "6"}
        return {"succeeded": True}


def record(identity: str, address: str) -> Record:
    return Record.model_validate({"identity": identity, "addresses": [address]})


async def test_a_machine_that_waits_for_the_one_before_it_is_registered_when_that_is_gone() -> None:
    etcd: Any = Played()
    member = Member(etcd, Layout("/edgenode"), WHO, "machine-2")
    etcd.holds(record("machine-1", "10.1.1.1"))
    with pytest.raises(MemberError, match="registered by another machine"):
        await member.register(record("machine-2", "10.1.1.2"), 15.0)
    etcd.leases.clear()  # nobody kept it alive
    etcd.holds(None)
    await member.register(record("machine-2", "10.1.1.2"), 15.0)
    assert etcd.held
    assert b"machine-2" in b64decode(etcd.held["value"])
