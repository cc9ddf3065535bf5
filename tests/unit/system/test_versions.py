from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenode.system.versions import VALID, Version, compare, newest

IN_ORDER = ["0.9", "1.0~rc1", "1.0~rc2", "1.0", "1.0-1", "1.0.1", "1.2", "1.10", "2", "10.0"]
texts = st.text("0129.-~^ab", max_size=12)


def test_older_comes_first() -> None:
    for older, newer in pairwise(IN_ORDER):
        assert compare(older, newer) < 0 < compare(newer, older), (older, newer)
    assert newest(IN_ORDER[::-1]) == "10.0"


@pytest.mark.parametrize(
    ("older", "newer"), [("", "1"), ("~", ""), ("1a", "1b"), ("a", "1"), ("1.", "1.a"), ("1", "1^")]
)
def test_corners_of_the_specification(older: str, newer: str) -> None:
    assert compare(older, newer) < 0 < compare(newer, older)


def test_zeros_in_front_say_nothing() -> None:
    assert Version("1.01") == Version("1.1")
    assert hash(Version("1.01")) == hash(Version("1.1"))


@given(texts, texts, texts)
def test_it_is_an_order(a: str, b: str, c: str) -> None:
    assert compare(a, a) == 0
    assert (compare(a, b) > 0) == (compare(b, a) < 0)
    if compare(a, b) <= 0 and compare(b, c) <= 0:
        assert compare(a, c) <= 0


def test_no_plus() -> None:
    assert VALID.fullmatch("1.2.3-rc1")
    assert not VALID.fullmatch("1.2+3")
