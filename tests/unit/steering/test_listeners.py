from __future__ import annotations

import errno
import os
import socket

import pytest

from edgenode.steering.listeners import ListenError, open_listeners


def test_all_share_the_address() -> None:
    with socket.socket() as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        free.bind(("127.0.0.1", 0))
        name = free.getsockname()
        listeners = open_listeners(f"127.0.0.1:{name[1]}", 3)
        assert [listener.getsockname() for listener in listeners] == [name] * 3
        for listener in listeners:
            listener.close()


def test_an_address_that_another_has() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        listen = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(ListenError) as caught:
            open_listeners(listen, 2)
    reason = "Address already in use; is another process there?"
    assert str(caught.value) == f"cannot listen on {listen}: {reason}"


@pytest.mark.parametrize("successes", [0, 1])
def test_without_descriptors_none_is_left_open(
    monkeypatch: pytest.MonkeyPatch, successes: int
) -> None:
    made: list[socket.socket] = []

    class Scarce(socket.socket):
        def __init__(self, family: int, kind: int) -> None:
            if len(made) == successes:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            super().__init__(family, kind)
            made.append(self)

    monkeypatch.setattr(socket, "socket", Scarce)
    with pytest.raises(ListenError) as caught:
        open_listeners("127.0.0.1:1", 2)
    assert str(caught.value) == "cannot listen on 127.0.0.1:1: Too many open files"
    assert [one.fileno() for one in made] == [-1] * successes


def test_a_user_who_vanishes_is_noticed_in_five_minutes() -> None:
    """However long the idle timeout is; and setting it costs no connection anything."""
    with socket.socket() as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        free.bind(("127.0.0.1", 0))
        (listener,) = open_listeners(f"127.0.0.1:{free.getsockname()[1]}", 1)
        with listener, socket.create_connection(listener.getsockname()):
            listener.setblocking(True)
            accepted, _ = listener.accept()
            with accepted:
                assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
                idle, each, probes = (
                    accepted.getsockopt(socket.IPPROTO_TCP, option)
                    for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
                )
                assert idle + each * probes == 300
