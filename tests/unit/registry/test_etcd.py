"""The client beside what is no etcd, or a bad one; tests/lab/registry has the real one."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import ClientSession, web

from edgenode.config import secrets
from edgenode.config.registry import Access
from edgenode.registry import etcd as module
from edgenode.registry.etcd import Etcd, Refused, TooLong, Unavailable

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def answering(handler: Handler) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        await web.SockSite(runner, listener).start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            await runner.cleanup()


@asynccontextmanager
async def client(*endpoints: str, timeout: float = 0.5) -> AsyncIterator[Etcd]:
    made = Etcd(Access.model_validate({"endpoints": endpoints, "timeout": timeout}))
    try:
        yield made
    finally:
        await made.close()


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (200, b"<html>hello", "does not answer as etcd does"),
        (200, b"[1]", "does not answer as etcd does"),
        (200, b"[" * 100_000, "does not answer as etcd does"),
        (502, b"bad gateway", "HTTP status 502"),
        (301, b"", "HTTP status 301"),
        (503, b'{"error": "etcdserver: no leader", "code": 14}', "etcdserver: no leader"),
        (500, b'{"error": "\\u001b[2J", "code": 14}', "?[2J"),
    ],
)
async def test_what_is_no_answer(status: int, body: bytes, said: str) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(status=status, body=body)

    async with answering(handler) as url, client(url) as etcd:
        with pytest.raises(Unavailable) as caught:
            await etcd.call("kv/range", {})
    assert said in str(caught.value)
    assert str(caught.value).isprintable()


async def test_a_watch_and_an_answer_that_break_off_are_told_without_python() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        if not request.path.endswith("watch"):
            response.content_length = 100
        await response.prepare(request)
        await response.write(b'{"result": {}}\n')
        assert request.transport
        request.transport.close()
        return response

    async with answering(handler) as url, client(url) as etcd:
        with pytest.raises(Unavailable) as caught:
            _ = [each async for each in etcd.watch({})]
        assert str(caught.value) == (
            f"{url}: the watch was cut: it ended the connection in the middle of an answer"
        )
        with pytest.raises(Unavailable) as caught:
            await etcd.call("kv/range", {})
        assert str(caught.value) == f"{url}: it ended the connection in the middle of an answer"


async def test_who_does_not_answer_is_told_without_python() -> None:
    async def ends(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.close()

    async def said(url: str) -> str:
        async with client(url) as etcd:
            with pytest.raises(Unavailable) as caught:
                await etcd.call("kv/range", {})
        return str(caught.value).removeprefix(f"{url}: ")

    server = await asyncio.start_server(ends, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        assert await said(f"http://127.0.0.1:{port}") == (
            "it ended the connection without an answer"
        )
    assert await said("http://127.0.0.1:1") == "Connection refused"


async def test_who_speaks_no_tls_is_told_so() -> None:
    async def handler(request: web.Request) -> web.Response:
        raise AssertionError

    async with answering(handler) as url, client(url.replace("http", "https")) as etcd:
        with pytest.raises(Unavailable) as caught:
            await etcd.call("kv/range", {})
    assert ": no TLS: " in str(caught.value)
    assert "_ssl.c" not in str(caught.value)


async def test_the_next_endpoint_is_tried() -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.json_response({"count": "7"})

    async def hangs(request: web.Request) -> web.Response:
        await asyncio.sleep(60)
        raise AssertionError

    async with (
        answering(handler) as url,
        answering(hangs) as hung,
        client("http://127.0.0.1:1", hung, url) as etcd,
    ):
        begun = time.monotonic()
        assert await etcd.call("kv/range", {}) == {"count": "7"}
        assert time.monotonic() - begun < 2
        assert str(etcd.endpoint) == url
        begun = time.monotonic()
        await etcd.call("kv/range", {})
        assert time.monotonic() - begun < 0.4, "it is asked first from then on"


async def test_an_answer_without_end_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ANSWER", 100_000)

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 65536)

    async with answering(handler) as url, client(url, timeout=5) as etcd:
        with pytest.raises(TooLong, match="an answer of more than 100000 bytes"):
            await etcd.call("kv/range", {})
        with pytest.raises(TooLong, match="an answer of more than 100000 bytes"):
            _ = [each async for each in etcd.watch({})]


async def test_lines_of_a_stream_come_in_pieces() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for piece in (b'{"result": {"a"', b": 1}}\n\n", b'{"result": {"a": 2}}\n{"error": '):
            await response.write(piece)
            await asyncio.sleep(0.01)
        await response.write(b'{"grpc_code": 7, "message": "permission denied"}}\n')
        return response

    async with answering(handler) as url, client(url) as etcd:
        stream = etcd.watch({})
        seen = [await anext(stream), await anext(stream)]
        with pytest.raises(Refused, match="may not do that") as caught:
            await anext(stream)
        assert caught.value.code == module.PERMISSION_DENIED
        assert seen == [{"a": 1}, {"a": 2}]


async def test_names_that_are_not_answered_fill_no_other_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def hangs(*arguments: object, **more: object) -> None:
        time.sleep(0.5)

    monkeypatch.setattr(socket, "getaddrinfo", hangs)
    endpoints = [f"http://etcd{n}.example.net:2379" for n in range(8)]
    async with client(*endpoints, timeout=0.05) as etcd:
        tries = [asyncio.create_task(etcd.call("kv/range", {})) for _ in range(4)]
        begun = time.monotonic()
        await asyncio.to_thread(time.sleep, 0)
        assert time.monotonic() - begun < 0.5
        for each in await asyncio.gather(*tries, return_exceptions=True):
            assert isinstance(each, Unavailable)


@pytest.mark.parametrize("moment", ["its password is read", "its token has come"])
async def test_a_session_that_another_task_closes_in_the_middle(
    monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.json_response({"token": "t"})

    async with answering(handler) as url:
        access = {"endpoints": [url], "user": "edge", "password_file": "/nowhere"}
        etcd = Etcd(Access.model_validate(access))
        asks = etcd._authenticate

        async def closed(session: ClientSession, user: str) -> str:
            token = await asks(session, user)
            await etcd.close()
            return token

        def line(path: object) -> str:
            if moment == "its password is read":
                asyncio.run_coroutine_threadsafe(etcd.close(), loop).result(5)
            return "secret"

        loop = asyncio.get_running_loop()
        monkeypatch.setattr(secrets, "line", line)
        if moment == "its token has come":
            monkeypatch.setattr(etcd, "_authenticate", closed)
        with pytest.raises(Unavailable, match="the connection was closed"):
            await etcd.call("kv/range", {})
        await etcd.close()
