"""What a run would change on a node, and which units have to start anew or reload for it. Pure.

It is known before anything is touched: a node on which nothing changes is not drained.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from edgenode.config.schema import Config
from edgenode.config.steering import Steering

UNITS = (
    "edgenode-mesh.service",
    "bird.service",
    "edgenode-lifeline.service",
    "edgenode-exec.service",
    "edgenode-steering.service",
    "edgenode-control.service",
)
"""In the order in which they are started anew: control last, which finds the others ready."""

_EDGENODE = tuple(unit for unit in UNITS if unit.startswith("edgenode-"))

_WORKERS = "steering.workers"
_WORKERS_NOT_KNOWN = "steering.workers, which is not known of what runs"

_READERS: dict[str, tuple[str, ...]] = {
    "node": _EDGENODE,
    "bgp": ("edgenode-control.service",),
    "lifeline": ("edgenode-lifeline.service", "edgenode-control.service"),
    _WORKERS: ("edgenode-steering.service",),
    _WORKERS_NOT_KNOWN: ("edgenode-steering.service",),
    "mesh": ("edgenode-mesh.service", "edgenode-control.service"),
    "firewall": (),
}
"""Who has to start anew for which table of edgenode.toml. The firewall has its own way, with an
undo, and steering is replaced while it runs."""

APPLIED = frozenset(
    {"degraded", "groups", "checks", "hooks", "services", "regions", "metrics", "steering"}
)
"""What a running control takes up (`edgenode apply`): no session ends for it. The exec
runner reads the checks again by itself. Of [steering] it hands on what is in steering's table."""

RELOAD = "reload "
"""What stands before a unit that is to be reloaded, in the note of what is to be done."""

TOML = "/etc/edgenode/edgenode.toml"
_CONTROL = "edgenode-control.service"
_STEERING = "edgenode-steering.service"

_UNIT_FILE = re.compile(r"/usr/lib/systemd/system/([\w@.-]+\.service)(?:\.d/.*)?")


@dataclass(frozen=True)
class File:
    """A file as it must be on a node."""

    path: str
    content: str
    owner: str = "root"
    group: str = "root"
    mode: str = "0644"


def left_behind(want: Iterable[str], placed: str) -> list[str]:
    """Paths that runs before this one placed, a line each, and that the inventory has no more."""
    wanted = {*want}
    return [path for path in placed.splitlines() if path and path not in wanted]


LOOK = "stat --printf '%n\\t%a\\t%U\\t%G\\n' -- {0}; sha1sum -- {0}"
"""What a shell on the node is asked of files; of those that are not there it says nothing."""


def pending(files: Iterable[File], answer: str) -> list[str]:
    """Paths whose content, owner or mode is not as it must be; `answer` is that to `LOOK`."""
    found: dict[str, tuple[str, ...]] = {}
    sums: dict[str, str] = {}
    for line in answer.splitlines():
        if "\t" in line:
            path, *rest = line.split("\t")
            found[path] = tuple(rest)
        else:
            digest, _, path = line.partition("  ")
            sums[path] = digest
    return [
        file.path
        for file in files
        if found.get(file.path) != (file.mode.lstrip("0"), file.owner, file.group)
        or sums.get(file.path) != hashlib.sha1(file.content.encode()).hexdigest()
    ]


def tables_changed(old: str, new: str) -> list[str]:
    """Tables of edgenode.toml whose meaning changes: a comment, an order, or a default that is
    written out is no change.

    A file that cannot be read, or is not there, differs in everything. Named beside its table is
    the one key of [steering] that no reload takes up.
    """
    after = tomllib.loads(new)
    try:
        before = tomllib.loads(old)
    except tomllib.TOMLDecodeError:
        before = {}
    if not before:
        return [*after, _WORKERS_NOT_KNOWN]
    changed = [
        table
        for table in dict.fromkeys([*after, *before])
        if before.get(table) != after.get(table)
        and _meaning(table, before) != _meaning(table, after)
    ]
    workers = [_workers(document) for document in (before, after)]
    if workers[0] is None:
        changed.append(_WORKERS_NOT_KNOWN)
    elif workers[0] != workers[1]:
        changed.append(_WORKERS)
    return changed


def _meaning(table: str, document: dict[str, Any]) -> object:
    """What edgenode makes of a table, also of one that is missing; as it stands, if nothing."""
    field = Config.model_fields.get(table)
    if field is None or (table not in document and field.is_required()):
        return document.get(table)
    if table not in document:
        return field.get_default()
    schema: Any = field.annotation
    try:
        found: object = TypeAdapter(schema).validate_python(document[table])
    except ValidationError:  # of a release that knows other keys
        return document[table]
    return found


def _workers(document: dict[str, Any]) -> int | None:
    """How many relay workers it asks for; None: it does not say so in a way that is understood."""
    steering = document.get("steering", {})
    if not isinstance(steering, dict):
        return None
    workers = steering.get("workers", Steering.model_fields["workers"].default)
    return workers if isinstance(workers, int) else None


@dataclass(frozen=True)
class Renewals:
    """Units that take up a change. A reload of steering keeps its users, a restart cuts them."""

    restart: list[str]
    reload: list[str]
    cuts: list[str]
    """Why steering is restarted although a reload would keep its users, in sentences."""


def renewals(
    paths: Sequence[str],
    tables: Sequence[str],
    release_changes: bool,
    unfinished: Sequence[str] = (),
    control_answers: bool = True,
    takes_over: bool = True,
    first: bool = False,
) -> Renewals:
    """What changed files, changed tables of edgenode.toml and a new edgenode ask for.

    `unfinished` is the note of a run before this one: units that it should have renewed,
    among files that it should have taken into use. A control that does not answer takes up nothing.
    `takes_over`: the steering that runs can be replaced while it runs. `first`: none runs yet, so
    nobody is cut.
    """
    wanted: set[str] = {*unfinished, *(_EDGENODE if release_changes else ())} - {_STEERING}
    cuts: dict[str, None] = {}
    if _STEERING in unfinished:
        cuts["a run before this one was to restart it"] = None
    for table in dict.fromkeys(tables):
        if table not in APPLIED:
            wanted.update(units := _READERS.get(table, _EDGENODE))
            if _STEERING in units:
                cuts[f"no reload takes up the change of {table}"] = None
    if _to_take_up(tables, unfinished) and not control_answers:
        wanted.add(_CONTROL)
    for path in paths:
        if match := _UNIT_FILE.fullmatch(path):
            wanted.add(match[1])
            if match[1] == _STEERING:
                cuts["its unit changes"] = None
        elif path.startswith("/etc/edgenode/secrets/"):
            # Control writes them into BIRD's configuration.
            wanted.add(_CONTROL)
    replaced = release_changes or "steering" in tables or RELOAD + _STEERING in unfinished
    if replaced and not takes_over:
        cuts["the steering that runs does not know how to be replaced"] = None
    if cuts:
        wanted.add(_STEERING)
    return Renewals(
        [unit for unit in UNITS if unit in wanted],
        [_STEERING] if replaced and not cuts else [],
        [] if first else list(cuts),
    )


def applies(tables: Sequence[str], units: Sequence[str], unfinished: Sequence[str] = ()) -> bool:
    """Whether control has to be told of its new configuration; `units`: what starts anew."""
    return _CONTROL not in units and _to_take_up(tables, unfinished)


def _to_take_up(tables: Sequence[str], unfinished: Sequence[str]) -> bool:
    return TOML in unfinished or not APPLIED.isdisjoint(tables)
