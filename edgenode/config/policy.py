"""Rules for what decides the groups' levels: quorums, damping, the view of other sites. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from edgenode.config.errors import KeyPath, Problem
from edgenode.config.schema import Config, Damping, Rule


def check(config: Config) -> Iterator[Problem]:
    """What the schema cannot say of each table by itself."""
    for g, group in enumerate(config.groups):
        for r, rule in enumerate(group.rules):
            yield from _rule(rule, ("groups", g, "rules", r))
        yield from _damping(group.damping, ("groups", g, "damping"))


def _rule(rule: Rule, key: KeyPath) -> Iterator[Problem]:
    if len(set(rule.checks)) != len(rule.checks):
        yield Problem((*key, "checks"), "names a check twice")
    if rule.need != "quorum":
        for field in sorted(rule.model_fields_set & {"low", "high"}):
            yield Problem((*key, field), f'is for need = "quorum", and need is "{rule.need}"')
    elif rule.low > rule.high:
        what = f"is above high ({rule.high:g}): a rule would be broken and whole at once"
        yield Problem((*key, "low"), what)


def _damping(damping: Damping, key: KeyPath) -> Iterator[Problem]:
    if damping.reuse >= damping.suppress:
        what = f"is not below suppress ({damping.suppress:g}): a hidden route could never return"
        yield Problem((*key, "reuse"), what)
    if damping.max_suppress < damping.half_life:
        what = f"is below half_life ({damping.half_life:g} s): no penalty could decay in it"
        yield Problem((*key, "max_suppress"), what)
