"""The fleet as Ansible's inventory describes it: each node's configuration, and what clashes.

Pure, and free of Ansible: its plugins in `ansible/plugins` hand plain values in and out, so that
what refuses a wrong inventory is tested and typed like the rest.
"""

from edgenode.inventory.changes import (
    LOOK,
    File,
    Renewals,
    applies,
    left_behind,
    pending,
    renewals,
    tables_changed,
)
from edgenode.inventory.logins import locked_out
from edgenode.inventory.nodes import (
    Fleet,
    Node,
    Problem,
    Role,
    read_fleet,
    strays,
    unknown_variables,
)
from edgenode.inventory.overlaps import overlaps
from edgenode.inventory.progress import (
    REASON,
    Expected,
    Waiting,
    answered,
    expected,
    left_drained,
    unmet,
    waiting,
)
from edgenode.inventory.render import configuration, placeholder_key, variable_of
from edgenode.inventory.software import release
from edgenode.inventory.toml import dumps

__all__ = [
    "LOOK",
    "REASON",
    "Expected",
    "File",
    "Fleet",
    "Node",
    "Problem",
    "Renewals",
    "Role",
    "Waiting",
    "answered",
    "applies",
    "configuration",
    "dumps",
    "expected",
    "left_behind",
    "left_drained",
    "locked_out",
    "overlaps",
    "pending",
    "placeholder_key",
    "read_fleet",
    "release",
    "renewals",
    "strays",
    "tables_changed",
    "unknown_variables",
    "unmet",
    "variable_of",
    "waiting",
]
