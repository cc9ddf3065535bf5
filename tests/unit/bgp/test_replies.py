from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenode.bgp.replies import MAX_LINE, Line, Notice, ProtocolError, Reply, ReplyParser

STATUS = b"""1000-BIRD 2.0.12
1011-Router ID is 198.51.100.1
 Hostname is vm
 Last reboot on 2026-01-01 05:33:07.686
0013 Daemon is up and running
"""


def parse(*portions: bytes) -> list[Reply | Notice | str]:
    """Events of a stream; the error, if there is one, as the last of them."""
    parser = ReplyParser()
    events: list[Reply | Notice | str] = []
    try:
        for portion in portions:
            parser.feed(portion)
            while (event := parser.next()) is not None:
                events.append(event)
    except ProtocolError as error:
        events.append(str(error))
        with pytest.raises(ProtocolError):
            parser.next()
    return events


def test_a_reply_of_several_codes() -> None:
    (event,) = parse(STATUS)
    assert event == Reply(13, STATUS)
    assert isinstance(event, Reply)
    assert event.lines == (
        Line(1000, "BIRD 2.0.12"),
        Line(1011, "Router ID is 198.51.100.1"),
        Line(1011, "Hostname is vm"),
        Line(1011, "Last reboot on 2026-01-01 05:33:07.686"),
        Line(13, "Daemon is up and running"),
    )


def test_any_code_ends_a_reply() -> None:
    events = parse(b"0001 BIRD 2.0.12 ready.\n0009-web: disabled\n0000 \n8007 Access denied\n")
    assert [event.code for event in events if isinstance(event, Reply)] == [1, 0, 8007]


@pytest.mark.parametrize("code", [16, 23, 1026, 8002, 8009, 9003, 9999])
def test_codes_that_lists_of_ending_codes_do_not_have(code: int) -> None:
    (event,) = parse(b"0002-Reading\n%04d text\n" % code)
    assert isinstance(event, Reply)
    assert event.code == code
    assert event.failed == (code >= 8000)


def test_text_of_a_reply_that_ends_with_an_empty_line() -> None:
    (event,) = parse(b"0009-web: disabled\n0000 \n")
    assert isinstance(event, Reply)
    assert event.text == "web: disabled"


def test_a_notice_in_the_middle_of_a_reply() -> None:
    events = parse(b"1002-one\n+a log line\n two\n0000 \n")
    assert events[0] == Notice("a log line")
    assert isinstance(events[1], Reply)
    assert [line.text for line in events[1].lines] == ["one", "two", ""]
    assert events[1].raw == b"1002-one\n two\n0000 \n"


@pytest.mark.parametrize(
    "garbage", [b"\n", b"hello\n", b" alone\n", b"123 x\n", b"12345 x\n", b"0000\n", b"0000_\n"]
)
def test_garbage(garbage: bytes) -> None:
    assert parse(b"0000 fine\n" + garbage)[:1] == [Reply(0, b"0000 fine\n")]
    assert isinstance(parse(b"0000 fine\n" + garbage)[-1], str)


def test_a_line_without_end() -> None:
    parser = ReplyParser()
    parser.feed(b"1002-" + b"x" * MAX_LINE)
    with pytest.raises(ProtocolError, match="more than"):
        parser.next()


def test_a_continuation_line_that_is_too_long() -> None:
    assert parse(b"1002-x\n " + b"x" * MAX_LINE + b"\n0000 \n") == [
        f"a line of more than {MAX_LINE} bytes"
    ]


def test_a_reply_that_has_only_begun() -> None:
    parser = ReplyParser()
    assert not parser.pending
    parser.feed(b"1002-one\n tw")
    assert parser.next() is None
    assert parser.pending


text = st.binary(max_size=12).filter(lambda raw: b"\n" not in raw)
lines = st.one_of(
    st.builds(
        lambda code, sep, raw: b"%04d%s%s\n" % (code, sep, raw),
        st.integers(0, 9999),
        st.sampled_from([b" ", b"-"]),
        text,
    ),
    st.builds(lambda raw: b" " + raw + b"\n", text),
    st.builds(lambda raw: b"+" + raw + b"\n", text),
    text.map(lambda raw: raw + b"\n"),
)


@given(st.lists(lines, max_size=12).map(b"".join), st.lists(st.integers(0, 200), max_size=8))
def test_any_portions_give_the_same(stream: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    portions = [stream[a:b] for a, b in itertools.pairwise(edges)]
    assert parse(*portions) == parse(stream)


@given(st.binary(max_size=300))
def test_noise_never_hangs_nor_breaks_it(stream: bytes) -> None:
    events = parse(*(stream[i : i + 1] for i in range(len(stream))))
    assert len(events) <= stream.count(b"\n") + 1
