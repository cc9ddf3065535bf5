"""What changes from one configuration to another, and what of it needs a restart. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from edgenode.config.schema import Config

HIDDEN = "(hidden)"

_SECRET = re.compile(
    r"password|secret|token|authorization|cookie|private|headers?\b", re.IGNORECASE
)
_FILE = re.compile(r"_file$")
_USERINFO = re.compile(r"(?<=://)[^/@\s]+(?=@)")
_QUERY = re.compile(r"(?<=[?&;])([^=&;#\s]+)=[^&;#\s]+")
"""Of a URL: a parameter with a value."""
_WORD = r"[\w-]*(?:passw|passphrase|pwd|secret|token|auth|credential|api-?_?key|private)[\w-]*"
_ASSIGNED = re.compile(rf"(?i)({_WORD}\s*[=:]\s*)(?!//).+", re.DOTALL)
"""``PASSWORD=x``, ``--token=x``, ``Authorization: x``."""
_OPTION = re.compile(rf"(?i)--?{_WORD}")
"""An option whose value is the next argument."""
_SHORT = frozenset(("-p", "-u", "-H", "--user", "--header"))
"""Options that often carry a password, or a header with one."""

_TARGET = ("edgenode.target",)
_CONTROL = ("edgenode-control",)
_LIFELINE = ("edgenode-lifeline", "edgenode-control")
_MESH = ("edgenode-mesh", "edgenode-control")

FIXED: Mapping[str, tuple[str, ...]] = {
    "node.name": _TARGET,
    "node.run_dir": _TARGET,
    "node.state_dir": _TARGET,
    "bgp.socket": _CONTROL,
    "bgp.config": _CONTROL,
    "lifeline.device": _LIFELINE,
    "lifeline.grace": _LIFELINE,
    "lifeline.heartbeat_timeout": _LIFELINE,
    "mesh.device": _MESH,
    "mesh.private_key_file": _MESH,
}
"""What no running control takes up, and the units that do when they are restarted, in that order.
A mesh without a device is none: that covers [mesh] itself, too."""

_RESTART = "takes effect when edgenode-steering is restarted, which ends all connections"
_RELOAD = "takes effect when edgenode-steering is reloaded, which ends no connection"

ELSEWHERE: Mapping[str, str] = {
    "steering.workers": _RESTART,
    "steering.max_connections": _RELOAD,
    "steering.access_log.file": _RELOAD,
    "firewall": "takes effect by `edgenode firewall apply`",
}
"""What control does not read."""


def difference(old: Config, new: Config) -> list[str]:
    """A line for each value that an operator wrote otherwise, in the order of the keys.

    Named items are told apart by name: ``groups[web].checks: ["a"] → ["a", "b"]``. Values that
    may be secrets are hidden, on both sides.
    """
    before, after = _values(old), _values(new)
    lines = []
    for key in sorted({*before, *after}):
        if key not in after:
            lines.append(f"- {key}: {_shown(key, before[key])}")
        elif key not in before:
            lines.append(f"+ {key}: {_shown(key, after[key])}")
        elif before[key] != after[key]:
            lines.append(f"~ {key}: {_shown(key, before[key])} → {_shown(key, after[key])}")
    return lines


def needs_restart(old: Config, new: Config) -> list[str]:
    """A sentence for each change that cannot be made while control runs."""
    return [
        f"{key} cannot change while edgenode runs: systemctl restart {' '.join(units)}"
        for key, units in FIXED.items()
        if _at(old, key) != _at(new, key)
    ]


def elsewhere(old: Config, new: Config) -> list[str]:
    """A sentence for each key that changes and that another process reads."""
    return [f"{key} {what}" for key, what in ELSEWHERE.items() if _at(old, key) != _at(new, key)]


def _at(config: Config, key: str) -> object:
    value: object = config
    for part in key.split("."):
        value = getattr(value, part, None)
    return value


def _values(config: Config) -> dict[str, Any]:
    return dict(_flat("", config.model_dump(mode="json", exclude_unset=True)))


def _flat(key: str, value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _flat(f"{key}.{name}" if key else name, inner)
    elif isinstance(value, list | tuple) and value and isinstance(value[0], dict):
        for position, inner in enumerate(value):
            label = inner.get("name", position)
            yield from _flat(f"{key}[{label}]", {k: v for k, v in inner.items() if k != "name"})
    else:
        yield key, value


def _shown(key: str, value: object) -> str:
    if _SECRET.search(key) and not _FILE.search(key):
        return HIDDEN
    if key.endswith("command") and isinstance(value, list | tuple):
        return f"[{', '.join(_arguments(value))}]"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_shown(key, item) for item in value)}]"
    if isinstance(value, str):
        return f'"{_without_secrets(value)}"'
    return str(value).lower() if isinstance(value, bool) else str(value)


def _arguments(command: Sequence[str]) -> Iterator[str]:
    """The arguments of a command, without what looks like a secret."""
    hide = False
    for argument in command:
        shown = _ASSIGNED.sub(rf"\1{HIDDEN}", _without_secrets(argument))
        yield HIDDEN if hide else f'"{shown}"'
        hide = bool(_OPTION.fullmatch(argument)) or argument in _SHORT


def _without_secrets(text: str) -> str:
    """Without the user of a URL, and the values of its query."""
    text = _USERINFO.sub(HIDDEN, text)
    return _QUERY.sub(rf"\1={HIDDEN}", text) if "://" in text else text
