"""The system calls, on real sockets: both bodies, each in the run of its form."""

from __future__ import annotations

import ast
import errno
import os
import re
import select
import socket
import threading
from collections.abc import Iterator

import pytest

from edgenode.steering import form, sysio
from edgenode.steering.sysio import END, ERROR, INPUT, OUTPUT, WATCH_BOTH, WATCH_INPUT, WOULD_BLOCK
from tests.unit.steering.running import eventually, listen, read_exactly, reset

Pair = tuple[socket.socket, socket.socket]
HOSTS = ("127.0.0.1", "::1")


@pytest.fixture(params=HOSTS)
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """Two ends of a TCP connection; the first does not block."""
    with listen(request.param) as listener:
        theirs = socket.create_connection(listener.getsockname()[:2], 5.0)
        ours, _ = listener.accept()
    with ours, theirs:
        ours.setblocking(False)
        yield ours, theirs


def readable(fd: int) -> None:
    eventually(lambda: sysio_events(fd) & INPUT)


def sysio_events(fd: int) -> int:
    epoll = sysio.Epoll()
    epoll.register(fd, WATCH_INPUT)
    found = epoll.events(0) if epoll.wait(0.0) else 0
    epoll.close()
    return found


def test_both_bodies_offer_the_same() -> None:
    """Names of functions, classes and methods, and their parameters; numbers in the .pxd."""
    offered = {}
    for node in ast.parse((form.HERE / "sysio.py").read_text()).body:
        if isinstance(node, ast.FunctionDef):
            offered[node.name] = [one.arg for one in node.args.args]
        elif isinstance(node, ast.ClassDef):
            for method in node.body:
                if isinstance(method, ast.FunctionDef):
                    arguments = [one.arg for one in method.args.args[1:]]
                    offered[f"{node.name}.{method.name}"] = arguments
    of_python = {"read": ["fd", "size"], "write": ["fd", "data"], "monotonic": []}
    offered = {**of_python, **offered, "Pipe.__cinit__": ["size"], "Epoll.__cinit__": []}
    compiled, owner = {}, ""
    for line in (form.HERE / "sysio.pyx").read_text().splitlines():
        if found := re.match(r"cdef class (\w+)", line):
            owner = f"{found[1]}."
        elif found := re.match(r"( *)(?:cpdef|def) .*?(\w+)\((.*)\)", line):
            words = [part.split()[-1] for part in found[3].split(",") if part and part != "self"]
            compiled[(owner if found[1] else "") + found[2]] = words
    private = {"Pipe.__dealloc__": [], "Epoll.__dealloc__": [], "_no_address": ["text"]}
    assert {name: words for name, words in compiled.items() if name not in private} == {
        name: words
        for name, words in offered.items()
        if not name.rpartition(".")[2].startswith("_") or name.endswith("__cinit__")
    }


def test_numbers() -> None:
    tree = ast.parse((form.HERE / "sysio.py").read_text())
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if name.isupper() and not name.startswith("_"):
                assert isinstance(getattr(sysio, name), int)
    assert WATCH_BOTH == WATCH_INPUT | OUTPUT == 0x80002007
    assert WOULD_BLOCK == -errno.EAGAIN


def test_events(pair: Pair) -> None:
    ours, theirs = pair
    epoll = sysio.Epoll()
    assert epoll.wait(0.0) == 0
    epoll.register(ours.fileno(), WATCH_INPUT)
    with pytest.raises(FileExistsError):
        epoll.register(ours.fileno(), WATCH_INPUT)
    theirs.send(b"x")
    assert epoll.wait(5.0) == 1
    assert (epoll.fd(0), epoll.events(0)) == (ours.fileno(), INPUT)
    with pytest.raises(IndexError):
        epoll.fd(1)
    assert epoll.wait(0.0) == 0  # it is told once
    epoll.modify(ours.fileno(), WATCH_BOTH)
    assert epoll.wait(5.0) == 1
    assert epoll.events(0) == INPUT | OUTPUT
    reset(theirs)
    eventually(lambda: epoll.wait(1.0) == 1 and epoll.events(0) & ERROR)
    assert epoll.events(0) & END
    epoll.unregister(ours.fileno())
    assert epoll.wait(0.0) == 0
    epoll.close()


def test_waiting_lets_other_threads_run() -> None:
    epoll = sysio.Epoll()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        epoll.register(ours.fileno(), WATCH_INPUT)
        threading.Thread(target=theirs.send, args=(b"x",)).start()
        assert epoll.wait(5.0) == 1
    epoll.close()


def test_bytes_go_through_the_buffer(pair: Pair) -> None:
    ours, theirs = pair
    transfer, fd = sysio.Transfer(), ours.fileno()
    assert transfer.read(fd, 10) == WOULD_BLOCK
    theirs.send(b"0123456789abc")
    readable(fd)
    assert transfer.read(fd, 10) == 10
    assert transfer.rest(4, 10) == b"456789"
    assert transfer.write(fd, 4, False) == 4
    assert read_exactly(theirs, 4) == b"0123"
    assert transfer.write_held(fd, b"held", True) == 4
    assert transfer.end_writing(fd) == 0
    assert read_exactly(theirs, 4) == b"held"
    assert theirs.recv(1) == b""
    assert transfer.read(fd, 10) == 3
    theirs.shutdown(socket.SHUT_WR)
    readable(fd)
    eventually(lambda: transfer.read(fd, 10) == 0)


def test_a_reset_is_a_number_below_zero(pair: Pair) -> None:
    ours, theirs = pair
    transfer = sysio.Transfer()
    reset(theirs)
    eventually(lambda: transfer.read(ours.fileno(), 10) == -errno.ECONNRESET)
    assert transfer.write(ours.fileno(), 1, False) == -errno.EPIPE
    assert transfer.write_held(ours.fileno(), b"x", True) == -errno.EPIPE
    assert transfer.end_writing(ours.fileno()) == -errno.ENOTCONN


def test_bytes_go_through_a_pipe(pair: Pair) -> None:
    ours, theirs = pair
    transfer, pipe, fd = sysio.Transfer(), sysio.Pipe(1 << 17), ours.fileno()
    assert transfer.fill(pipe, fd, 100) == WOULD_BLOCK
    theirs.send(b"0123456789")
    readable(fd)
    assert transfer.fill(pipe, fd, 100) == 10
    assert transfer.drain(pipe, fd, 4, True) == 4
    assert transfer.drain(pipe, fd, 6, False) == 6
    assert read_exactly(theirs, 10) == b"0123456789"
    theirs.shutdown(socket.SHUT_WR)
    eventually(lambda: transfer.fill(pipe, fd, 100) == 0)
    pipe.close()
    pipe.close()


def test_what_the_kernel_says_of_a_connection(pair: Pair) -> None:
    ours, theirs = pair
    fd = ours.fileno()
    assert sysio.is_quiet(fd)
    assert not sysio.unsent(fd)
    sysio.write(fd, b"x" * 100)
    read_exactly(theirs, 100)
    eventually(lambda: not sysio.unsent(fd))
    rtt, sent, again = sysio.tcp_info(fd)
    assert 0 < rtt < 10_000_000
    assert sent >= 1
    assert again == 0
    theirs.send(b"y")
    readable(fd)
    assert not sysio.is_quiet(fd)
    assert sysio.read(fd, 10) == b"y"
    assert sysio.is_quiet(fd)
    reset(theirs)
    eventually(lambda: not sysio.is_quiet(fd))
    for call in (sysio.tcp_info, sysio.unsent, sysio.local_address, sysio.take_error):
        with pytest.raises(OSError):
            call(1 << 20)


def test_a_pipe_goes_with_its_object() -> None:
    pipe = sysio.Pipe(1 << 16)
    reader = pipe.reader
    os.fstat(reader)
    del pipe
    with pytest.raises(OSError):
        os.fstat(reader)
    with pytest.raises(OSError):
        sysio.Pipe((1 << 31) - 1)


@pytest.mark.parametrize("host", HOSTS)
def test_a_connection_from_end_to_end(host: str) -> None:
    with listen(host) as listener:
        listener.setblocking(False)
        assert sysio.accept(listener) is None
        port = listener.getsockname()[1]
        upstream = sysio.open_upstream(":" in host, None, host)
        assert sysio.connect(upstream, host, port) in (0, errno.EINPROGRESS)
        eventually(lambda: select.select([listener], [], [], 1.0)[0])
        found = sysio.accept(listener)
    assert found is not None
    fd, peer = found
    assert peer == sysio.local_address(upstream)
    assert sysio.local_address(fd) == (host, port)
    assert sysio.take_error(upstream) == 0
    with pytest.raises(BlockingIOError):
        sysio.read(fd, 10)
    assert sysio.write(upstream, b"ab") == 2
    assert sysio.write_more(upstream, b"c") == 1
    sysio.end_writing(upstream)
    got = b""
    while len(got) < 3:
        readable(fd)
        got += sysio.read(fd, 10)
    assert got == b"abc"
    readable(fd)
    assert sysio.read(fd, 10) == b""
    assert not os.get_inheritable(fd)
    assert not os.get_inheritable(upstream)
    sysio.reset(fd)
    eventually(lambda: sysio_events(upstream) & ERROR)
    assert sysio.take_error(upstream) == errno.ECONNRESET
    with pytest.raises(BrokenPipeError):
        sysio.write(upstream, b"x")
    sysio.close(upstream)
    for gone in (fd, upstream):
        with pytest.raises(OSError):
            os.fstat(gone)


def test_what_cannot_be_opened_leaves_nothing_open() -> None:
    before = len(os.listdir("/proc/self/fd"))
    for device, source in (("no-such-device", None), (None, "192.0.2.1")):
        with pytest.raises(OSError):
            sysio.open_upstream(False, device, source)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_refusal_is_a_number() -> None:
    with listen("127.0.0.1") as listener:
        port = listener.getsockname()[1]
    upstream = sysio.open_upstream(False, None, None)
    failed = sysio.connect(upstream, "127.0.0.1", port)
    if failed == errno.EINPROGRESS:
        eventually(lambda: sysio_events(upstream) & ERROR)
        failed = sysio.take_error(upstream)
    assert failed == errno.ECONNREFUSED
    sysio.close(upstream)
