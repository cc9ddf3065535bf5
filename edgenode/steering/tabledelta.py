"""What differs between two tables, so that a change of one target is not a table of thousands.

Pure. A delta names the revision that it starts from, and `patch` refuses any other; what it holds
is checked as a whole table is. Its JSON:

    {"base": 7, "head": {the table's own fields},
     "services": ["web",                       as it was
                  {a service, "regions": ["fra",                as it was
                                          {a region, "drop": ["fra-3"], "put": [[0, {a target}]]},
                                          {a region, "workers": [..]}]}]}     whole

All lists are in the new table's order; "put" has the place of each target in the new list. The
"protection" of a service may be "same": as it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

from edgenode.steering.checked import distinct, listing, shown
from edgenode.steering.table import (
    RegionTargets,
    Service,
    Table,
    TableError,
    Target,
    check_listeners,
    region_from_json,
    region_to_json,
    service_from_json,
    service_to_json,
    target_from_json,
    target_to_json,
)

Delta = dict[str, Any]
Kept = TypeVar("Kept")

_SAME = "same"


class BaseError(Exception):
    """The delta does not start from this table: the whole one is needed."""


def diff(old: Table, new: Table) -> Delta:
    """The delta with which `patch` makes the new table of the old one."""
    before = {service.name: service for service in old.services}
    return {
        "base": old.revision,
        "head": replace(new, services=()).to_json(),
        "services": [_service_diff(before.get(one.name), one) for one in new.services],
    }


def patch(old: Table, delta: object) -> Table:
    """The new table. What did not change in it is the old one's own objects.

    Raises BaseError if the delta does not start from this table, or names what is not in it;
    TableError if it is malformed, or so is what it makes.
    """
    if not isinstance(delta, dict) or not isinstance(delta.get("head"), dict):
        raise TableError("the delta has no head")
    base = delta.get("base")
    if base != old.revision or isinstance(base, bool):
        raise BaseError(f"the delta is for table {shown(base)}, not {old.revision}")
    head = Table.from_json({**delta["head"], "services": []})
    before = {service.name: service for service in old.services}
    services = tuple(
        _kept(before, one, "service")
        if isinstance(one, str)
        else _service_patch(before, one, f"services[{index}]")
        for index, one in enumerate(listing(delta.get("services"), "services"))
    )
    distinct([one.name for one in services], "services", "service")
    check_listeners(services)
    return replace(head, services=services)


def _service_diff(old: Service | None, new: Service) -> object:
    if old == new:
        return new.name
    before = {region.region: region for region in old.regions} if old else {}
    head = service_to_json(replace(new, regions=()))
    if old is not None and "protection" in head and old.protection == new.protection:
        head["protection"] = _SAME  # it may have thousands of prefixes
    return {
        **head,
        "regions": [_region_diff(before.get(one.region), one) for one in new.regions],
    }


def _region_diff(old: RegionTargets | None, new: RegionTargets) -> object:
    if old == new:
        return new.region
    head = region_to_json(replace(new, workers=()))
    del head["workers"]
    if old is not None:
        before = {target.worker: target for target in old.workers}
        put = [
            [place, target_to_json(target)]
            for place, target in enumerate(new.workers)
            if before.get(target.worker) != target
        ]
        kept = [one for one in new.workers if before.get(one.worker) == one]
        stay = {one.worker for one in kept}
        if 2 * len(put) < len(new.workers) and kept == [o for o in old.workers if o.worker in stay]:
            return {**head, "drop": [name for name in before if name not in stay], "put": put}
    return {**head, "workers": [target_to_json(target) for target in new.workers]}


def _service_patch(before: Mapping[str, Service], value: object, where: str) -> Service:
    if not isinstance(value, dict) or "regions" not in value:
        raise TableError(f"{where}: neither a name nor an object with regions")
    same: dict[str, object] = {"protection": {}} if value.get("protection") == _SAME else {}
    head = service_from_json({**value, **same, "regions": []}, where)
    old = before.get(head.name)
    if same:
        head = replace(head, protection=_kept(before, head.name, "service").protection)
    known = {region.region: region for region in old.regions} if old else {}
    where = f"{where} ({head.name})"
    regions = tuple(
        _kept(known, one, "region")
        if isinstance(one, str)
        else _region_patch(known, one, f"{where}.regions[{index}]")
        for index, one in enumerate(listing(value["regions"], f"{where}.regions"))
    )
    distinct([one.region for one in regions], f"{where}.regions", "region")
    return replace(head, regions=regions)


def _region_patch(before: Mapping[str, RegionTargets], value: object, where: str) -> RegionTargets:
    if not isinstance(value, dict):
        raise TableError(f"{where}: neither a name nor an object")
    if "put" not in value:
        return region_from_json(value, where)
    rest = {key: one for key, one in value.items() if key not in ("drop", "put")}
    head = region_from_json({**rest, "workers": []}, where)
    old = _kept(before, head.region, "region")
    there = {target.worker: target for target in old.workers}
    drop = {
        _kept(there, name, "worker").worker for name in listing(value.get("drop"), f"{where}.drop")
    }
    workers = [target for target in old.workers if target.worker not in drop]
    for item in listing(value["put"], f"{where}.put"):
        place, target = _placed(item, f"{where}.put")
        if place > len(workers):
            raise BaseError(f"{where}.put: there is no place {place}")
        workers.insert(place, target)
    distinct([target.worker for target in workers], f"{where}.workers", "worker")
    return replace(head, workers=tuple(workers))


def _placed(value: object, where: str) -> tuple[int, Target]:
    pair = listing(value, where)
    if len(pair) != 2 or not isinstance(pair[0], int) or pair[0] < 0:
        raise TableError(f"{where}: {shown(value)} is not a place and a target")
    return int(pair[0]), target_from_json(pair[1], where)


def _kept(before: Mapping[str, Kept], name: object, what: str) -> Kept:
    """What is as it was. Raises BaseError where it was not there."""
    if not isinstance(name, str) or name not in before:
        raise BaseError(f"there is no {what} {shown(name)} in the table before")
    return before[name]
