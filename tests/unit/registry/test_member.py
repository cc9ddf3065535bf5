"""A worker's end of the registry, beside an etcd that is played; tests/lab has the real one."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Mapping
from typing import Any

import pytest

from edgenode.registry.etcd import NOT_FOUND, Refused, encoded
from edgenode.registry.member import Keeper, Member, MemberError
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
            self.written(record.render())

    def written(self, value: bytes, lease: str = "0") -> None:
        self.held = {"key": KEY, "value": encoded(value), "mod_revision": "5", "lease": lease}

    async def call(self, path: str, body: Mapping[str, Any], **_: object) -> Mapping[str, Any]:
        if path == "kv/range":
            return {"header": HEADER, "kvs": [self.held] if self.held else []}
        if path == "lease/grant":
            self.granted += 1
            self.leases.add(str(self.granted))
            return {"ID": str(self.granted)}
        if path == "lease/keepalive":
            return {"result": {"TTL": "5" if body["ID"] in self.leases else "0"}}
        assert path == "kv/txn"
        put = body["success"][0]["request_put"]
        if put["lease"] not in self.leases:
            raise Refused("etcdserver: requested lease not found", NOT_FOUND)
        self.written(b64decode(put["value"]), put["lease"])
        return {"succeeded": True}


def record(identity: str, address: str) -> Record:
    return Record.model_validate({"identity": identity, "addresses": [address]})


async def test_a_machine_that_waits_for_the_one_before_it_is_registered_when_that_is_gone() -> None:
    etcd: Any = Played()
    member = Member(etcd, Layout("/edgenode"), WHO, "machine-2")
    etcd.holds(record("machine-1", "10.1.1.1"))
    command = "edgenode worker leave --region fra --name w1 --identity machine-1"
    with pytest.raises(MemberError, match=f"registered by another machine .*{command}"):
        await member.register(record("machine-2", "10.1.1.2"), 15.0)
    etcd.leases.clear()  # nobody kept it alive
    etcd.holds(None)
    await member.register(record("machine-2", "10.1.1.2"), 15.0)
    assert etcd.held
    assert b"machine-2" in b64decode(etcd.held["value"])


OURS = record("machine-1", "10.1.1.1")


class Kept:
    """A member that is registered, with its keeper; each `once` is what comes each third of a
    lease."""

    def __init__(self) -> None:
        etcd: Any = Played()
        self.etcd: Played = etcd
        self.said: list[str] = []
        member = Member(etcd, Layout("/edgenode"), WHO, "machine-1")
        self.keeper = Keeper(member, lambda: OURS, 5.0, self.said.append)

    async def once(self) -> None:
        await self.keeper._once()

    @property
    def there(self) -> tuple[bytes, str]:
        assert self.etcd.held
        return b64decode(self.etcd.held["value"]), self.etcd.held["lease"]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (b"garbage", 'has lost its record in etcd to what is none (it is no JSON ("garbage"))'),
        (b"{}", "has lost its record in etcd to what is none (identity: Field required)"),
        (record("machine-1", "10.1.1.9").render(), "has had its record in etcd changed by others"),
        (OURS.render(), "has had its record in etcd changed by others"),  # it would never end
    ],
)
async def test_a_record_that_others_write_over_is_put_back_and_said_once(
    value: bytes, said: str
) -> None:
    kept = Kept()
    for _ in range(3):
        await kept.once()
    assert kept.said == ["fra/w1 is registered"]
    for _ in range(3):
        kept.etcd.written(value)
        await kept.once()
        assert kept.there == (OURS.render(), "1")
    assert kept.said[1].startswith(f"fra/w1 {said}: look at w")
    assert kept.said[2:] == ["fra/w1 is registered"]
    await kept.once()
    kept.etcd.written(value)
    await kept.once()
    assert len(kept.said) == 5, "after some peace it is news again"


async def test_a_drain_by_hand_is_left_as_it_is() -> None:
    kept = Kept()
    await kept.once()
    draining = OURS.model_copy(update={"draining": True}).render()
    kept.etcd.written(draining, "1")
    await kept.once()
    assert kept.there == (draining, "1")
    assert kept.said == ["fra/w1 is registered"]


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (record("machine-2", "10.1.1.2"), "is registered by another machine (identity machine-2"),
        (record("machine-1", "10.1.1.2"), "another machine that has this one's identity"),
    ],
)
async def test_another_machine_that_took_its_place_keeps_it_and_is_named(
    other: Record, said: str
) -> None:
    kept = Kept()
    await kept.once()
    kept.etcd.written(other.render(), "77")
    for _ in range(2):
        with pytest.raises(MemberError) as caught:
            await kept.once()
        assert said in str(caught.value)
    assert kept.there == (other.render(), "77")
    kept.etcd.holds(None)  # it has left
    await kept.once()
    assert kept.there == (OURS.render(), "1")
