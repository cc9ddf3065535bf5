"""What the commands of whoever is on call know of the node, where its file is damaged, too."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import typer

from edgenode import places
from edgenode.cli.options import DEFAULT_CONFIG, config_path, errors, refuse_config
from edgenode.config import Config, ConfigError, Essentials, load, loads, read_essentials
from edgenode.config.values import Network


@dataclass(frozen=True)
class Known:
    """As the file says; or, where that is damaged, as the control that runs says."""

    run_dir: Path
    state_dir: Path
    groups: Mapping[str, tuple[Network, ...]]
    """Their prefixes."""
    neighbors: tuple[str, ...]
    config: Config | None
    """The file's, or the one that was confirmed last; None: neither is of use."""

    @classmethod
    def of(cls, config: Config) -> Known:
        """A right file's."""
        return cls(
            config.node.run_dir,
            config.node.state_dir,
            {group.name: group.prefixes for group in config.groups},
            tuple(neighbor.name for neighbor in config.bgp.neighbors),
            config,
        )

    def holder(self, subject: str) -> str | None:
        """The group that an address, or a prefix, is in."""
        with contextlib.suppress(ValueError):
            network = ip_network(subject)
            for name, prefixes in self.groups.items():
                for prefix in prefixes:
                    # mypy does not know that the versions are the same
                    if prefix.version == network.version and network.subnet_of(prefix):  # type: ignore[arg-type]
                        return name
        return None

    def spelled(self, group: str) -> str:
        """The group with its prefixes."""
        prefixes = self.groups[group]
        return f"{group} ({' '.join(map(str, prefixes))})" if prefixes else group


def know(context: typer.Context, given: Path | None) -> Known:
    """The node that is meant. A damaged file is told of, and is in nobody's way.

    Exit status 2, with all that is wrong with the file, where nothing else says what the node is.
    """
    path = config_path(context, given)
    try:
        return Known.of(load(path, check_secrets=False))
    except ConfigError as error:
        found = read_essentials(path)
        if not os.path.lexists(path) and path != DEFAULT_CONFIG:
            refuse_config(error)  # mistyped: another node's control may be at the default place
        last = _confirmed(found)
        answer = _asked(found, path)
        if last is None and answer is None:
            refuse_config(error)
        count = len(error.problems)
        problem = error.lines()[0] + (f" (and {count - 1} more)" if count > 1 else "")
        instead = "control" if answer else "what was confirmed last"
        what = f"the configuration is damaged, and {instead} is asked instead: {problem}"
        errors.print(f"edgenode: note: {what}", markup=False)
        return _known(found, last, answer)


def _known(found: Essentials, last: Config | None, answer: Mapping[str, Any] | None) -> Known:
    groups: dict[str, tuple[Network, ...]] = {}
    neighbors: tuple[str, ...] = ()
    if last is not None:
        groups, neighbors = dict(Known.of(last).groups), Known.of(last).neighbors
    if answer is not None:
        groups = {g["name"]: tuple(map(ip_network, g["prefixes"])) for g in answer["groups"]}
        neighbors = tuple(neighbor["name"] for neighbor in answer["neighbors"])
    return Known(found.run_dir, found.state_dir, groups, neighbors, last)


def _confirmed(found: Essentials) -> Config | None:
    from edgenode.control.texts import Texts

    text = Texts(places.control_state(found.state_dir)).confirmed()
    try:
        return None if text is None else loads(text, check_secrets=False)
    except ConfigError:
        return None


def _asked(found: Essentials, path: Path) -> Mapping[str, Any] | None:
    """The status of the control that runs with this very file; None: there is none."""
    from edgenode.api.client import ApiError, ControlAway, call

    try:
        answer: dict[str, Any] = call(places.control_socket(found.run_dir), "GET", "/v1/status")
    except (ApiError, ControlAway):
        return None
    file = Path(answer.get("configuration", {}).get("file", path))
    # Where run_dir could not be read another node's control may be at the default place.
    return answer if not file.is_absolute() or _same(file, path) else None


def _same(one: Path, other: Path) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def meant_by(known: Known, subjects: Iterable[str]) -> dict[str, str]:
    """The groups that names or prefixes stand for; a name stays as it is, and so does a prefix of
    no group. What a prefix brings with it is said."""
    meant = {}
    for subject in subjects:
        meant[subject] = subject
        with contextlib.suppress(ValueError):
            network = ip_network(subject) if "/" in subject else None
            for group, prefixes in known.groups.items():
                if network in prefixes:
                    meant[subject] = group
                    every = " ".join(map(str, prefixes))
                    what = f"{subject} stands for its group {group} ({every})"
                    errors.print(f"edgenode: note: {what}", markup=False)
    return meant


def no_such_group(known: Known, unknown: Iterable[str]) -> str:
    """A sentence, with the group that an address or a part of a prefix is in."""
    unknown = list(unknown)
    what = "group, and no prefix of one" if any("/" in each for each in unknown) else "group"
    text = f"no such {what}: {', '.join(unknown)}; groups: {', '.join(known.groups)}"
    for subject in unknown:
        if group := known.holder(subject):
            text += f"; {subject} is in group {known.spelled(group)}: name that"
    return text
