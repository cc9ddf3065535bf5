"""Rules of a group, and what upstreams are thought to do: what is refused, and in which words."""

from __future__ import annotations

import pytest

from edgenode.config import ConfigError, loads
from tests.unit.config.test_config import GOOD

QUORUM = 'checks = ["nginx", "steering"]\nneed = "quorum"\nlevel = "degraded"\n'


def with_rule(text: str) -> str:
    return GOOD.replace("[[checks]]", f"[[groups.rules]]\n{text}\n[[checks]]", 1)


def test_a_quorum_with_hysteresis_is_right() -> None:
    group = loads(with_rule(QUORUM + "low = 0.3\nhigh = 0.9")).groups[1]
    assert (group.rules[0].low, group.rules[0].high) == (0.3, 0.9)
    assert group.damping.suppress == 6000
    assert loads(with_rule(QUORUM)).checks_of("static") == {"nginx", "steering"}


@pytest.mark.parametrize(
    ("rule", "complaint"),
    [
        (QUORUM + "low = 0.8", r"low.*is above high \(0\.7\)"),
        (QUORUM + "low = 0", "low"),
        ('checks = ["nginx"]\nlow = 0.4', 'low.*is for need = "quorum", and need is "all"'),
        ('checks = ["nginx", "nginx"]', "names a check twice"),
        ('checks = ["ngnix"]', 'did you mean "nginx"'),
        ("checks = []", "checks"),
        ('checks = ["nginx"]\nlevel = "normal"', "level"),
    ],
)
def test_a_wrong_rule_is_named(rule: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        loads(with_rule(rule))


@pytest.mark.parametrize(
    ("damping", "complaint"),
    [
        ("reuse = 6000", "a hidden route could never return"),
        ('max_suppress = "5m"', "is below half_life"),
        ("suppress = 10", "suppress"),
    ],
)
def test_a_damping_that_cannot_be_is_refused(damping: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        loads(GOOD.replace("[[checks]]", f"[groups.damping]\n{damping}\n[[checks]]", 1))
