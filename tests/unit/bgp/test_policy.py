from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from edgenode.bgp.levels import CAUTION, Level, most_cautious
from edgenode.bgp.policy import Asked, Decision, decide, frozen
from edgenode.config import Group
from edgenode.health.risefall import State

CHECKS = ("a", "b")
groups = st.builds(
    lambda checks, required: Group.model_validate(
        {
            "name": "web",
            "prefixes": ["203.0.113.0/24"],
            "checks": checks,
            "regions_required": required,
        }
    ),
    st.lists(st.sampled_from(CHECKS), unique=True),
    st.sampled_from(["any", "all"]),
)
states = st.dictionaries(st.sampled_from(CHECKS), st.sampled_from(list(State)))
reachable = st.dictionaries(st.sampled_from(["s", "t"]), st.sampled_from([True, False, None]))
levels = st.sampled_from(list(Level))
inputs = st.fixed_dictionaries(
    {
        "group": groups,
        "checks": states,
        "services_reachable": reachable,
        "asked": levels.map(lambda level: Asked(level, ("as told",))),
        "previous": levels,
    }
)


def decided(**given: Any) -> Decision:
    return decide(given.pop("group"), given.pop("checks"), given.pop("services_reachable"), **given)


@given(inputs)
def test_there_is_always_a_reason(case: dict[str, Any]) -> None:
    assert decided(**case).reasons


@given(inputs)
def test_the_operator_withdraws_whatever_is_known(case: dict[str, Any]) -> None:
    assert (
        decided(**case | {"asked": Asked(Level.WITHDRAWN, ("as told",))}).level is Level.WITHDRAWN
    )


@given(inputs)
def test_a_required_check_that_is_down_withdraws(case: dict[str, Any]) -> None:
    if any(case["checks"].get(name) is State.DOWN for name in case["group"].checks):
        assert decided(**case).level is Level.WITHDRAWN


@given(inputs)
def test_an_operator_never_attracts_more(case: dict[str, Any]) -> None:
    plain = decided(**case | {"asked": Asked()}).level
    asked = case["asked"].level
    assert decided(**case).level is most_cautious(plain, asked)


@given(inputs)
def test_without_evidence_all_stays(case: dict[str, Any]) -> None:
    blank = case | {
        "checks": {},
        "services_reachable": dict.fromkeys(case["services_reachable"]),
        "asked": Asked(),
        "memory": (),
    }
    if case["group"].checks or case["services_reachable"]:
        assert decided(**blank).level is case["previous"]


@given(inputs, st.sampled_from(CHECKS), st.sampled_from(["s", "t"]))
def test_better_news_never_withdraws(case: dict[str, Any], check: str, service: str) -> None:
    """One thing more known to be well: the level is the same or attracts more, unless the level
    was only kept for want of evidence."""
    before = decided(**case).level
    checks = case["checks"] | {check: State.UP}
    services = case["services_reachable"]
    if service in services:
        services = services | {service: True}
    after = decided(**case | {"checks": checks, "services_reachable": services}).level
    if before is Level.WITHDRAWN or case["previous"] is before:
        return
    assert CAUTION.index(after) >= CAUTION.index(before)


@given(inputs)
def test_a_decision_is_stable(case: dict[str, Any]) -> None:
    """The same evidence again changes nothing: no flapping of its own making."""
    once = decided(**case).level
    assert decided(**case | {"previous": once}).level is once


@given(inputs, levels)
def test_with_full_evidence_the_past_does_not_matter(case: dict[str, Any], previous: Level) -> None:
    full = case | {
        "checks": {name: case["checks"].get(name, State.UP) for name in CHECKS},
        "services_reachable": {k: bool(v) for k, v in case["services_reachable"].items()},
    }
    full["checks"] = {k: State.UP if v is State.UNKNOWN else v for k, v in full["checks"].items()}
    assert decided(**full) == decided(**full | {"previous": previous})


def group(required: str = "any") -> Group:
    return Group.model_validate(
        {"name": "web", "prefixes": ["203.0.113.0/24"], "regions_required": required}
    )


def level(required: str, services: dict[str, bool | None]) -> Level:
    return decide(group(required), {}, services, previous=Level.DRAINED).level


def test_any_and_all_of_the_services() -> None:
    one_off: dict[str, bool | None] = {"s": True, "t": False}
    assert level("any", one_off) is Level.NORMAL
    assert level("all", one_off) is Level.WITHDRAWN
    assert level("any", {"s": False, "t": None}) is Level.DRAINED
    assert level("all", {"s": True, "t": None}) is Level.DRAINED
    assert level("any", {"s": False}) is Level.WITHDRAWN
    assert level("all", {}) is Level.NORMAL


def test_the_reasons_name_what_is_wrong() -> None:
    decision = decide(group("all"), {}, {"s": False}, previous=Level.NORMAL)
    assert decision.reasons == ("service s has no reachable region",)


def test_a_pause_holds_what_is_and_lets_operators_take_away() -> None:
    down = Decision(Level.WITHDRAWN, ("check nginx is down",))
    held = frozen(down, Asked(), Level.NORMAL, "paused by ann")
    assert held.level is Level.NORMAL
    assert held.reasons == (
        "held as it is: paused by ann",
        "else it would be withdrawn: check nginx is down",
    )
    up = Decision(Level.NORMAL, ("all that is required is up",))
    assert frozen(up, Asked(), Level.WITHDRAWN, "").level is Level.WITHDRAWN
    taken = frozen(up, Asked(Level.WITHDRAWN, ("fire",)), Level.NORMAL, "paused by ann")
    assert taken.level is Level.WITHDRAWN
    assert taken.reasons == ("held as it is: paused by ann", "fire")
