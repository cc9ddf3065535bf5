"""What a relay worker has learned of workers and of the ways to them, for the one that follows it.

Without it a new version would dial slowly into a region that is dead, as it does not know how soon
it is to answer, and send users to workers that have just failed others. It is a help and no state:
what is not understood is passed over, and so it is of any version. Times are of the machine's
monotonic clock.

The levels of rates are not handed over: they are tens of megabytes in cells that are found by a
secret of each node's start, and a source gets no more by an upgrade than one burst.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict
from itertools import islice
from math import isfinite
from typing import Any

from edgenode.steering.memory import Memory
from edgenode.steering.outliers import Failure, Record

_MOST = 512
"""Regions, and records."""

_ROOM = 48 * 1024
"""Bytes, as it goes in one message."""

_LONGEST = 150.0
"""Seconds; the kernel gives a connect up sooner (tcp_syn_retries, see tcp(7))."""

_KINDS = {name: type(value) for name, value in asdict(Record(Failure.REFUSED)).items()}

_NOT_UNDERSTOOD = (LookupError, AttributeError, TypeError, ValueError, ArithmeticError)


def tell(memory: Memory) -> dict[str, Any]:
    """The usual connect times, and whom something is held against, as JSON."""
    most, told = _MOST, _told(memory, _MOST)
    while len(json.dumps(told)) > _ROOM:
        most //= 2
        told = _told(memory, most)
    return told


def _told(memory: Memory, most: int) -> dict[str, Any]:
    known = ((name, path) for name, path in memory.paths.items() if path.usual is not None)
    return {
        "paths": {
            name: {"usual": path.usual, "deviation": path.deviation, "answered": path.answered}
            for name, path in islice(known, most)
        },
        "records": [
            {"service": pool[0], "region": pool[1], "worker": worker, **_differing(record)}
            for pool, worker, record in islice(memory.records(), most)
        ],
    }


def take_in(memory: Memory, told: object, now: float) -> None:
    """Know it from now on, as far as the table names whom it is of.

    It comes from another version, so a time that cannot be takes what it is of with it: a worker
    would be left alone for ever, or a region dialed slowly for ever.
    """
    if not isinstance(told, dict):
        return
    paths, records = told.get("paths"), told.get("records")
    for name, value in paths.items() if isinstance(paths, dict) else ():
        with contextlib.suppress(*_NOT_UNDERSTOOD):
            _learn(memory, name, value, now)
    for value in records if isinstance(records, list) else ():
        with contextlib.suppress(*_NOT_UNDERSTOOD):
            known = {name: kind(value[name]) for name, kind in _KINDS.items() if name in value}
            if not all(isfinite(one) for one in known.values() if isinstance(one, float)):
                raise ValueError(f"{known} has a time that is none")
            key = str(value["service"]), str(value["region"])
            memory.recall(key, value["worker"], Record(**known), now)


def _differing(record: Record) -> dict[str, Any]:
    """What differs from one that is new: JSON has no infinities."""
    new = asdict(Record(record.reason))
    differs = {name: value for name, value in asdict(record).items() if value != new[name]}
    return {"reason": record.reason, **differs}


def _learn(memory: Memory, region: str, value: dict[str, Any], now: float) -> None:
    usual, deviation, answered = (float(value[name]) for name in ("usual", "deviation", "answered"))
    if not (0.0 <= usual <= _LONGEST and 0.0 <= deviation <= _LONGEST and isfinite(answered)):
        raise ValueError(f"{value} has a time that is none")
    path = memory.path(region)
    path.usual, path.deviation, path.answered = usual, deviation, min(answered, now)
