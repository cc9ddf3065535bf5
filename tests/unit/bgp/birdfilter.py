"""The part of BIRD's filter language that we write, read and run: a second opinion on our text.

It knows no more than that, and whatever it does not know is an error: text that it takes is text
that it has understood.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

_TOKEN = re.compile(
    r'\s+|#[^\n]*|(?P<token>"[^"\n]*"|[0-9a-f:.]+/[0-9]+[{+-]?|[A-Za-z_][A-Za-z0-9_.]*|[0-9]+'
    r"|\|\||!=|[{}();,\[\]=!~+])"
)


@dataclass
class Route:
    """What a filter is run on; the attributes are what it leaves behind."""

    net: str
    proto: str
    source: str = "RTS_STATIC"
    med: int | None = None
    preference: int | None = None
    prepends: list[int] = field(default_factory=list)
    standard: set[tuple[int, ...]] = field(default_factory=set)
    large: set[tuple[int, ...]] = field(default_factory=set)


class Verdict(Exception):
    """How a filter ended."""


def tokens(text: str) -> list[str]:
    """Raises ValueError for what is none of our text."""
    found, position = [], 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if not match:
            raise ValueError(f"not understood: {text[position : position + 40]!r}")
        if match["token"]:
            found.append(match["token"])
        position = match.end()
    return found


def sets(text: str) -> dict[str, set[str]]:
    """The prefix sets that a configuration defines by name."""
    return {
        name: set(inner.replace(" ", "").split(","))
        for name, inner in re.findall(r"define (\w+) = \[ ([^\]]*) \];", text)
    }


def body(text: str, head: str) -> str:
    """What stands in braces behind `head`, which occurs just once."""
    (start,) = (match.end() for match in re.finditer(re.escape(head) + r"\s*\{", text))
    depth = 1
    for position in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[position], 0)
        if depth == 0:
            return text[start:position]
    raise ValueError(f"{head} does not end")


def accepts(filter_body: str, defined: dict[str, set[str]], route: Route) -> bool:
    """Run a filter; its changes are then on `route`."""
    program = _Program(tokens(filter_body), defined, route)
    try:
        program.block_until_end()
    except Verdict as verdict:
        return verdict.args == ("accept",)
    raise ValueError("a filter that ends with neither accept nor reject")


class _Program:
    def __init__(self, tokens: list[str], defined: dict[str, set[str]], route: Route) -> None:
        self.tokens = tokens
        self.at = 0
        self.defined = defined
        self.route = route

    def block_until_end(self) -> None:
        while self.at < len(self.tokens):
            self.statement(run=True)

    def take(self, *expected: str) -> str:
        token = self.tokens[self.at]
        if expected and token not in expected:
            raise ValueError(f"{token!r} where {expected} should be")
        self.at += 1
        return token

    def statement(self, run: bool) -> None:
        token = self.take()
        if token == "{":
            while self.tokens[self.at] != "}":
                self.statement(run)
            self.take("}")
        elif token == "if":
            holds = self.condition()
            self.take("then")
            self.statement(run and holds)
            if self.at < len(self.tokens) and self.tokens[self.at] == "else":
                self.take("else")
                self.statement(run and not holds)
        elif token in {"accept", "reject"}:
            self.take(";")
            if run:
                raise Verdict(token)
        elif token in {"bgp_med", "preference"}:
            self.take("=")
            value = self.number()
            self.take(";")
            if run:
                assert value < 1 << 32
                setattr(self.route, token.removeprefix("bgp_"), value)
        else:
            self.method(token, run)

    def method(self, name: str, run: bool) -> None:
        self.take("(")
        if name == "bgp_path.prepend":
            value = int(self.take())
            if run:
                self.route.prepends.append(value)
        else:
            self.take("(")
            parts = [int(self.take())]
            while self.take(",", ")") == ",":
                parts.append(int(self.take()))
            what, _, verb = name.partition(".")
            length = {"bgp_community": 2, "bgp_large_community": 3}[what]
            assert len(parts) == length
            target = self.route.standard if length == 2 else self.route.large
            act = {"add": target.add, "delete": target.discard}[verb]
            if run:
                act(tuple(parts))
        self.take(")")
        self.take(";")

    def number(self) -> int:
        total = 0
        while True:
            token = self.take()
            total += (self.route.med or 0) if token == "bgp_med" else int(token)
            if self.tokens[self.at] != "+":
                return total
            self.take("+")

    def condition(self) -> bool:
        token = self.tokens[self.at]
        if token == "!":
            self.take("!")
            return not self.condition()
        if token == "(":
            self.take("(")
            holds = self.condition()
            while self.tokens[self.at] == "||":
                self.take("||")
                other = self.condition()
                holds = holds or other
            self.take(")")
            return holds
        return self.atom()

    def atom(self) -> bool:
        subject = self.take("source", "net", "proto", "defined")
        if subject == "defined":
            self.take("(")
            self.take("bgp_med")
            self.take(")")
            return self.route.med is not None
        verb = self.take("=", "!=", "~")
        if subject == "net" and verb == "~":
            return self.route.net in set(self.prefixes())
        other = self.take()
        if subject == "proto":
            assert verb == "~"
            return fnmatchcase(self.route.proto, other.strip('"'))
        actual = self.route.source if subject == "source" else self.route.net
        return (actual == other) == (verb == "=")

    def prefixes(self) -> Iterator[str]:
        """Only exact prefixes are understood: ``{24,32}``, ``+`` and ``-`` would be others."""
        if (name := self.take()) != "[":
            yield from self.defined[name]
            return
        while True:
            token = self.take()
            assert re.fullmatch(r"[0-9a-f:.]+/[0-9]+", token), token
            yield token
            if self.take(",", "]") == "]":
                return
