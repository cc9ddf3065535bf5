"""Which service a name and a protocol lead to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenode.steering.routing import Routes

ROUTES = Routes(
    [
        (("a.example.net", "b.example.net"), (), "exact"),
        (("a.example.net",), ("h2",), "exact h2"),
        (("*.example.net",), (), "wildcard"),
        (("*.deep.example.net",), ("h2", "dot"), "deep"),
        ((), ("dot",), "any dot"),
        ((), (), "default"),
    ]
)


@pytest.mark.parametrize(
    ("sni", "alpn", "found"),
    [
        ("a.example.net", (), ("exact", "")),
        ("a.example.net", ("http/1.1",), ("exact", "")),
        ("a.example.net", ("http/1.1", "h2"), ("exact h2", "h2")),
        ("b.example.net", ("h2",), ("exact", "")),
        ("c.example.net", ("h2",), ("wildcard", "")),
        ("x.y.example.net", ("dot",), ("wildcard", "")),
        ("x.deep.example.net", ("h2",), ("deep", "h2")),
        ("x.deep.example.net", ("dot", "h2"), ("deep", "dot")),
        ("x.deep.example.net", (), ("wildcard", "")),  # the deep one is passed over
        ("deep.example.net", ("h2",), ("wildcard", "")),
        ("example.net", ("h2",), ("default", "")),
        ("example.net", ("dot",), ("any dot", "dot")),
        ("", ("dot",), ("any dot", "dot")),
        ("", (), ("default", "")),
        ("aexample.net", (), ("default", "")),
    ],
)
def test_the_most_specific_wins(sni: str, alpn: tuple[str, ...], found: tuple[str, str]) -> None:
    assert ROUTES.choose(sni, alpn) == found


def test_without_a_default_an_unknown_name_is_nobodys() -> None:
    routes = Routes([(("a.example",), (), 1), (("b.example",), ("h2",), 2)])
    assert routes.choose("c.example", ()) is None
    assert routes.choose("", ()) is None
    assert routes.choose("b.example", ("http/1.1",)) is None
    assert (routes.knows("b.example"), routes.knows("c.example")) == (True, False)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (((), ()), ((), ())),
        ((("a.example",), ()), (("b.example", "a.example"), ())),
        (((), ("h2",)), ((), ("dot", "h2"))),
        ((("a.example",), ("h2",)), (("a.example",), ("h2",))),
    ],
)
def test_two_must_not_ask_for_the_same(
    one: tuple[tuple[str, ...], tuple[str, ...]], other: tuple[tuple[str, ...], tuple[str, ...]]
) -> None:
    with pytest.raises(ValueError, match="two ask for"):
        Routes([(*one, 1), (*other, 2)])


@given(st.text(max_size=300), st.lists(st.text(max_size=5), max_size=5))
def test_any_name_has_an_answer(sni: str, alpn: list[str]) -> None:
    assert ROUTES.choose(sni, alpn) is not None
