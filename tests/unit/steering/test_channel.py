from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator

import pytest

from edgenode.steering.channel import MAX_DESCRIPTORS, Channel, Message

Pair = tuple[Channel, Channel]


@pytest.fixture
def pair() -> Iterator[Pair]:
    one, two = socket.socketpair()
    channels = Channel(one), Channel(two)
    yield channels
    for channel in channels:
        channel.close()


def test_descriptors_stay_with_their_message(pair: Pair) -> None:
    sender, receiver = pair
    pipes = [os.pipe() for _ in range(3)]
    sender.send({"n": 0})
    for number, (read, write) in enumerate(pipes):
        sender.send({"n": number + 1}, (read, write))
        os.close(read)
        os.close(write)
    messages = receiver.receive()
    assert messages is not None
    assert [message["n"] for message, _ in messages] == [0, 1, 2, 3]
    for _, (read, write) in messages[1:]:
        os.write(write, b"x")
        assert os.read(read, 2) == b"x"
        os.close(read)
        os.close(write)


def test_a_large_message_waits_for_the_reader(pair: Pair) -> None:
    sender, receiver = pair
    fd = os.memfd_create("t")
    sender.send({"text": "a" * 3_000_000})
    sender.send({"text": "b"}, (fd,))
    os.close(fd)  # the message has a copy
    assert sender.blocked
    got: list[tuple[Message, list[int]]] = []
    while len(got) < 2:
        messages = receiver.receive()
        assert messages is not None
        got += messages
        sender.flush()
    assert [len(message["text"]) for message, _ in got] == [3_000_000, 1]
    os.close(got[1][1][0])
    assert not sender.blocked


def test_many_descriptors(pair: Pair) -> None:
    sender, receiver = pair
    sender.send({}, (0,) * MAX_DESCRIPTORS)
    sender.send({}, (0,))
    messages = receiver.receive()
    assert messages is not None
    assert [len(descriptors) for _, descriptors in messages] == [MAX_DESCRIPTORS, 1]
    for _, descriptors in messages:
        for fd in descriptors:
            os.close(fd)
    with pytest.raises(ValueError):
        sender.send({}, (0,) * (MAX_DESCRIPTORS + 1))


def test_the_end_comes_after_the_last_message(pair: Pair) -> None:
    sender, receiver = pair
    sender.send({"n": 1})
    sender.close()
    assert receiver.receive() == [({"n": 1}, [])]
    assert receiver.receive() is None
    with pytest.raises(OSError):
        receiver.send({})


def test_a_copy_that_fails_leaves_none_behind(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    sender, _ = pair
    dup, copies = os.dup, iter(range(2))

    def fail_third(fd: int) -> int:
        if next(copies, None) is None:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return dup(fd)

    monkeypatch.setattr(os, "dup", fail_third)
    before = os.listdir("/proc/self/fd")
    with pytest.raises(OSError, match="Too many open files"):
        sender.send({}, (0, 0, 0))
    assert os.listdir("/proc/self/fd") == before
    assert not sender.blocked
