"""What hangs on what in a configuration, looked up at every decision. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgenode.bgp.levels import Level, more_cautious
from edgenode.bgp.rules import rules_of
from edgenode.config import Config, Group
from edgenode.config.schema import Rule


@dataclass(frozen=True)
class Index:
    """A configuration's references, both ways."""

    rules: Mapping[str, tuple[Rule, ...]]
    """By group: all its rules."""
    services: Mapping[str, tuple[str, ...]]
    """By group: the names of the services steered in it."""
    checks: Mapping[str, tuple[str, ...]]
    """By group: the checks that its rules ask for."""
    dependents: Mapping[str, tuple[Group, ...]]
    """By check: the groups with a rule that asks for it."""

    @classmethod
    def of(cls, config: Config) -> Index:
        services: dict[str, tuple[str, ...]] = {group.name: () for group in config.groups}
        for service in config.services:
            services[service.group] += (service.name,)
        rules = {group.name: rules_of(group) for group in config.groups}
        checks = {
            name: tuple(dict.fromkeys(check for rule in each for check in rule.checks))
            for name, each in rules.items()
        }
        dependents: dict[str, tuple[Group, ...]] = {}
        for group in config.groups:
            for check in checks[group.name]:
                dependents[check] = (*dependents.get(check, ()), group)
        return cls(rules, services, checks, dependents)


def borne_by(group: Group, level: Level) -> frozenset[str]:
    """The checks that must have been up for a group to stand at a level."""
    return frozenset(
        check
        for rule in rules_of(group)
        if rule.need == "all" and more_cautious(Level(rule.level), level)
        for check in rule.checks
    )
