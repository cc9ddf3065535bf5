from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenode.bgp.levels import STANDING, Level
from edgenode.bgp.names import (
    group_of,
    password_name,
    session_name,
    static_name,
    static_pattern,
    symbol,
)

names = st.from_regex(r"[a-z][a-z0-9-]{0,30}", fullmatch=True)
things = st.one_of(
    st.tuples(st.just("static"), names, st.sampled_from([4, 6]), st.sampled_from([*STANDING])),
    st.tuples(st.just("session"), names),
    st.tuples(st.just("password"), names),
)


def called(thing: tuple[object, ...]) -> str:
    match thing:
        case ("static", str(name), int(version), Level() as level):
            return static_name(name, version, level)
        case ("session", str(name)):
            return session_name(name)
        case ("password", str(name)):
            return password_name(name)
    raise AssertionError(thing)


@given(things, things)
def test_different_things_have_different_names(
    one: tuple[object, ...], other: tuple[object, ...]
) -> None:
    assert (called(one) == called(other)) == (one == other)


@given(things)
def test_static_protocols_are_told_by_their_name(thing: tuple[object, ...]) -> None:
    assert group_of(called(thing)) == (thing[1] if thing[0] == "static" else None)


@given(names, names, st.sampled_from([4, 6]), st.sampled_from([*STANDING]))
def test_a_pattern_is_for_one_group(one: str, other: str, version: int, level: Level) -> None:
    pattern = static_pattern(one, level).strip('"').replace("?", "[46]")
    assert bool(re.fullmatch(pattern, static_name(other, version, level))) == (one == other)


def test_names_that_look_like_more_of_a_pattern() -> None:
    assert not re.fullmatch("web_v._normal", static_name("web-v4", 4, Level.NORMAL))


@pytest.mark.parametrize("name", ["", "A", "a_b", "a b", "a;b", "a\n", "é", "-a", "9a", "a" * 32])
def test_what_is_no_name_never_becomes_a_symbol(name: str) -> None:
    with pytest.raises(ValueError, match="is no name"):
        symbol(name)
