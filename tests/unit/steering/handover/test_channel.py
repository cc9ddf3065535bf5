"""Messages with descriptors, large states, and the token."""

from __future__ import annotations

import os
import resource
import socket
import time
from collections.abc import Iterator
from itertools import count, islice

import pytest

from edgenode.steering.handover import channel
from edgenode.steering.handover.channel import MOST_DESCRIPTORS, Broken, Channel, Closed

Ends = tuple[Channel, Channel]


@pytest.fixture
def ends() -> Iterator[Ends]:
    made = channel.pair()
    yield Channel(made[0]), Channel(made[1])
    for one in made:
        one.close()


def soon() -> float:
    return time.monotonic() + 5.0


def test_a_message_brings_its_descriptors(ends: Ends) -> None:
    reading, writing = os.pipe()
    ends[0].send({"type": "rows"}, [writing] * MOST_DESCRIPTORS)
    message, descriptors = ends[1].receive(soon())
    assert (message, len(descriptors)) == ({"type": "rows"}, MOST_DESCRIPTORS)
    os.close(writing)
    os.write(descriptors[-1], b"x")
    assert os.read(reading, 1) == b"x"
    channel.close_all([reading, *descriptors])


def test_it_waits_until_the_deadline_and_no_longer(ends: Ends) -> None:
    with pytest.raises(TimeoutError):
        ends[0].receive(time.monotonic() + 0.02)

    def fill() -> None:
        for _ in range(10_000):
            ends[0].send({}, (), time.monotonic() + 0.02)

    with pytest.raises(TimeoutError):
        fill()
    assert not ends[0].writable()


def test_what_was_sent_before_the_end_arrives(ends: Ends) -> None:
    """Also if the other has not read what it was sent: the kernel then tells of a reset first."""
    ends[1].send({"type": "unread"})
    ends[0].send({"type": "last"})
    ends[0].close()
    assert ends[1].receive(soon())[0] == {"type": "last"}
    with pytest.raises(Closed):
        ends[1].receive(soon())
    with pytest.raises(Closed):
        ends[1].send({})


def test_descriptors_that_the_limit_cut_off_are_missed(ends: Ends) -> None:
    """The kernel drops them in silence."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    ends[0].send({}, [0] * 100)
    taken = set(map(int, os.listdir("/proc/self/fd")))
    free = (fd for fd in count() if fd not in taken)
    resource.setrlimit(resource.RLIMIT_NOFILE, (next(islice(free, 20, None)), hard))
    try:
        with pytest.raises(Broken, match="LimitNOFILE"):
            ends[1].receive(soon())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("data", [b"[]", b"{", b"\xff"])
def test_nonsense_is_refused(data: bytes) -> None:
    ours, theirs = channel.pair()
    with ours, theirs:
        ours.send(data)
        with pytest.raises(Broken):
            Channel(theirs).receive(soon())


def test_a_state_can_be_read_and_not_changed() -> None:
    data = os.urandom(3 << 20)
    fd = channel.seal(data)
    with pytest.raises(OSError):
        os.write(fd, b"x")
    assert channel.unseal(fd) == data
    open_one = os.memfd_create("other", os.MFD_ALLOW_SEALING)
    with pytest.raises(Broken, match="not sealed"):
        channel.unseal(open_one)


def test_one_of_two_has_the_token(ends: Ends) -> None:
    token = channel.make_token()
    ends[0].send({}, [token])
    (copy,) = ends[1].receive(soon())[1]
    assert not channel.claimed(token)
    assert (channel.claim(copy), channel.claim(token)) == (True, False)
    assert channel.claimed(token)
    channel.give_back(copy)
    assert channel.claim(token)
    channel.close_all([token, copy])


def test_an_end_that_is_gone(ends: Ends) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    theirs.close()
    with pytest.raises(Closed):
        Channel(ours).receive(soon())
    ours.close()
