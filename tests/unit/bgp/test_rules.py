"""Rules of a group: quorums with hysteresis, and the most cautious of all that are broken."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from edgenode.bgp.levels import CAUTION, Level, more_cautious
from edgenode.bgp.policy import Asked, Decision, Memory, decide
from edgenode.bgp.rules import Standing, judge, rules_of
from edgenode.config import Group
from edgenode.config.schema import Rule
from edgenode.health.risefall import State

UP, DOWN, UNKNOWN = State.UP, State.DOWN, State.UNKNOWN
NAMES = ("a", "b", "c", "d")
QUORUM = Rule(checks=NAMES, need="quorum", low=0.5, high=0.75, level="degraded")

states = st.fixed_dictionaries(dict.fromkeys(NAMES, st.sampled_from(list(State))))
known = st.fixed_dictionaries(dict.fromkeys(NAMES, st.sampled_from([UP, DOWN])))
rules = st.builds(
    lambda checks, need, marks, level: Rule(
        checks=checks, need=need, low=min(marks), high=max(marks), level=level
    ),
    st.lists(st.sampled_from(NAMES), unique=True, min_size=1),
    st.sampled_from(["all", "any", "quorum"]),
    st.tuples(st.floats(0.1, 1), st.floats(0.1, 1)),
    st.sampled_from(["degraded", "drained", "withdrawn"]),
)
levels = st.sampled_from(list(Level))
standings = st.sampled_from(list(Standing))


def group(*rules: Rule, checks: tuple[str, ...] = ()) -> Group:
    return Group.model_validate(
        {
            "name": "web",
            "prefixes": ["203.0.113.0/24"],
            "checks": checks,
            "rules": [rule.model_dump() for rule in rules],
        }
    )


def after(count: int, standing: Standing, previous: Level = Level.NORMAL) -> Standing:
    """With so many of the four up."""
    checks = {name: UP if n < count else DOWN for n, name in enumerate(NAMES)}
    return judge(QUORUM, checks, standing, previous).standing


def test_a_quorum_breaks_below_low_and_is_whole_again_from_high_on() -> None:
    whole, broken = Standing.WHOLE, Standing.BROKEN
    assert [after(n, whole) for n in (4, 3, 2, 1, 0)] == [whole, whole, whole, broken, broken]
    assert [after(n, broken) for n in (0, 1, 2, 3, 4)] == [broken, broken, broken, whole, whole]


def test_between_the_marks_a_start_goes_on_where_the_one_before_left_off() -> None:
    assert after(2, Standing.OPEN, Level.NORMAL) is Standing.WHOLE
    assert after(2, Standing.OPEN, Level.DEGRADED) is Standing.BROKEN
    assert after(2, Standing.OPEN, Level.WITHDRAWN) is Standing.BROKEN, "never announced: careful"


def test_the_reasons_say_what_is_up_and_what_is_needed() -> None:
    few = judge(QUORUM, dict.fromkeys(NAMES, DOWN), Standing.WHOLE, Level.NORMAL)
    assert few.reasons == ("0 of 4 checks (a, b, c, d) are up, less than 50%",)
    some = judge(QUORUM, {"a": UP, "b": UP, "c": DOWN, "d": DOWN}, few.standing, Level.NORMAL)
    assert some.reasons == ("2 of 4 checks (a, b, c, d) are up, not yet 75%",)


@given(rules, states, standings, levels)
def test_what_is_not_known_moves_nothing(
    rule: Rule, checks: dict[str, State], standing: Standing, previous: Level
) -> None:
    """A rule breaks only if it would with everything unknown up; and mends likewise."""
    now = judge(rule, checks, standing, previous).standing
    best = {name: UP if state is UNKNOWN else state for name, state in checks.items()}
    worst = {name: DOWN if state is UNKNOWN else state for name, state in checks.items()}
    if now is not standing and now is Standing.BROKEN:
        assert judge(rule, best, standing, previous).standing is Standing.BROKEN
    if now is not standing and now is Standing.WHOLE:
        assert judge(rule, worst, standing, previous).standing is Standing.WHOLE


@given(rules, known, standings, levels)
def test_with_full_evidence_there_is_always_a_verdict_and_it_stays(
    rule: Rule, checks: dict[str, State], standing: Standing, previous: Level
) -> None:
    once = judge(rule, checks, standing, previous)
    assert once.standing is not Standing.OPEN
    assert judge(rule, checks, once.standing, previous) == once
    assert bool(once.reasons) is (once.standing is Standing.BROKEN)


def decided(
    each: Group, checks: dict[str, State], previous: Level = Level.NORMAL, memory: Memory = ()
) -> Decision:
    return decide(each, checks, {}, previous=previous, asked=Asked(), memory=memory)


@given(st.lists(rules, min_size=1, max_size=4), known, levels)
def test_the_most_cautious_broken_rule_holds(
    several: list[Rule], checks: dict[str, State], previous: Level
) -> None:
    found = decided(group(*several), checks, previous)
    alone = [decided(group(rule), checks, previous).level for rule in several]
    assert found.level is min(alone, key=CAUTION.index)
    assert len(found.memory) == len(several)


@given(st.lists(rules, min_size=1, max_size=4), states, levels, st.lists(standings, max_size=4))
def test_nothing_is_announced_that_could_be_refused(
    several: list[Rule], checks: dict[str, State], previous: Level, memory: list[Standing]
) -> None:
    """Where the unknown could make it more cautious, the level does not attract more."""
    each = group(*several)
    now = decided(each, checks, previous, tuple(memory))
    worst = {name: DOWN if state is UNKNOWN else state for name, state in checks.items()}
    feared = decided(each, worst, previous, tuple(memory))
    if more_cautious(feared.level, now.level):
        assert not more_cautious(previous, now.level)


@given(st.lists(rules, min_size=1, max_size=3), st.lists(states, max_size=8), levels)
def test_the_state_is_the_callers_alone(
    several: list[Rule], history: list[dict[str, State]], previous: Level
) -> None:
    """The same story told twice ends the same: nothing is remembered elsewhere."""

    def told() -> list[Any]:
        memory: Memory = ()
        level, found = previous, []
        for checks in history:
            decision = decided(group(*several), checks, level, memory)
            memory, level = decision.memory, decision.level
            found.append(decision)
        return found

    assert told() == told()


def test_checks_are_the_short_way_to_say_all_or_withdrawn() -> None:
    short = group(QUORUM, checks=("a",))
    assert [rule.level for rule in rules_of(short)] == ["withdrawn", "degraded"]
    most = {"a": UP, "b": DOWN, "c": DOWN, "d": DOWN}
    assert decided(short, most).level is Level.DEGRADED
    assert decided(short, most | {"a": DOWN}).level is Level.WITHDRAWN
    assert decided(short, dict.fromkeys(NAMES, UP)).level is Level.NORMAL


def test_a_rule_in_doubt_lets_a_withdrawn_group_come_back_as_far_as_is_certain() -> None:
    """Nothing unknown could withdraw it: it is announced, as the lesser choice for now."""
    each = group(QUORUM, checks=("a",))
    found = decided(each, {"a": UP}, Level.WITHDRAWN)
    assert found.level is Level.DEGRADED
    assert "without evidence degraded is kept" in found.reasons
