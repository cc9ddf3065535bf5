"""The admin API: JSON over HTTP on a Unix socket that only its owner may use."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from aiohttp import web
from prometheus_client import generate_latest

from edgenode.api.client import BEGIN_BY
from edgenode.api.metrics import CONTENT_TYPE, registry
from edgenode.api.requests import Request, parse
from edgenode.config import Endpoint
from edgenode.places import bind
from edgenode.regions.trace import TraceError
from edgenode.state import StateError

log = logging.getLogger(__name__)

CONNECTIONS = 128
"""At a time, for each of our sockets: whoever opens more must not take the descriptors and the
memory of the checks."""


class Node(Protocol):
    """What the API needs of control."""

    async def refresh(self) -> None:
        """Ask anew for what changes without being told."""

    def status(self) -> Mapping[str, Any]:
        """The node's whole state, as JSON values."""

    async def intend(self, request: Request) -> Sequence[str]:
        """Heed what an operator wants, or has released; what there is to say about it.

        Raises LastSite where it is not done for the users' sake, StateError where it cannot be
        remembered.
        """

    async def explain(self, group: str) -> Mapping[str, Any]:
        """All that a group hangs on, and what its neighbors were sent."""

    async def trace(self, address: str, service: str | None) -> Mapping[str, Any]:
        """Where a client of a service would be taken now, and why. Raises TraceError."""

    def groups(self) -> Sequence[str]:
        """The names of the groups."""

    def neighbors(self) -> Sequence[str]:
        """The names of the neighbors."""


class LastSite(Exception):
    """The users of a prefix would have nowhere to go, as far as is known; the text says so."""


class AddressInUse(Exception):
    """Somebody listens there already; the text says where and what to do."""


def admin_app(node: Callable[[], Node]) -> web.Application:
    """`node`: the present one; with another configuration it is another one.

    Routes: ``GET /v1/status``, ``GET /v1/why/GROUP``, ``GET /v1/trace`` (``?address=``, and
    ``&service=`` where several are meant), ``POST /v1/intent`` (see `requests`).
    """
    app = web.Application(client_max_size=64 * 1024, middlewares=[_in_time])

    async def status(_: web.Request) -> web.Response:
        await node().refresh()
        return web.json_response(node().status())

    async def why(request: web.Request) -> web.Response:
        if (group := request.match_info["group"]) not in node().groups():
            return _error(404, f"no such group: {group}; there are: {', '.join(node().groups())}")
        await node().refresh()
        return web.json_response(await node().explain(group))

    async def trace(request: web.Request) -> web.Response:
        asked = request.query
        try:
            found = await node().trace(asked.get("address", ""), asked.get("service"))
        except TraceError as error:
            return _error(400, str(error))
        # Thousands of workers take long to write: not in a withdraw's way.
        return web.json_response(text=await asyncio.to_thread(json.dumps, found))

    async def intent(request: web.Request) -> web.Response:
        try:
            wanted = parse(await request.json(), node().groups(), node().neighbors())
        except LookupError as error:
            return _error(404, str(error.args[0]))
        except ValueError as error:
            return _error(400, str(error))
        if wanted.until is not None and wanted.until <= time.time():
            return _error(400, "until is not in the future: nothing was changed")
        try:
            notes = await node().intend(wanted)
        except LastSite as error:
            return _error(409, str(error))
        except StateError as error:
            return _error(507, str(error))
        await node().refresh()
        return web.json_response({**node().status(), "notes": list(notes)})

    app.add_routes(
        [
            web.get("/v1/status", status),
            web.get("/v1/why/{group}", why),
            web.get("/v1/trace", trace),
            web.post("/v1/intent", intent),
        ]
    )
    return app


@web.middleware
async def _in_time(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """What lay in the socket while we hung was given up by whoever asked: it is not done now."""
    try:
        late = time.monotonic() > float(request.headers.get(BEGIN_BY, "inf"))
    except ValueError:
        return _error(400, f"the request is not right: {BEGIN_BY} is a number of seconds")
    if not late:
        return await handler(request)
    if request.method != "GET":
        log.warning("%s is not done: it came while control hung, and was given up", request.path)
    return _error(408, "control hung when this was asked: nothing was changed")


def _error(status: int, sentence: str) -> web.Response:
    return web.json_response({"error": sentence}, status=status)


def metrics_app(
    status: Callable[[], Mapping[str, Any]], refresh: Callable[[], Awaitable[None]]
) -> web.Application:
    """``GET /metrics`` in the text format of Prometheus; `refresh` comes before each answer."""
    app = web.Application()
    making: asyncio.Task[bytes] | None = None

    async def make() -> bytes:
        await refresh()
        seen = status()
        # Thousands of lines take long to write: not in a withdraw's way.
        return await asyncio.to_thread(generate_latest, registry(lambda: seen))

    async def metrics(_: web.Request) -> web.Response:
        nonlocal making
        # All who ask at once get the same: they must not fill the threads that intents wait for.
        if making is None or making.done():
            making = asyncio.create_task(make())
        body = await asyncio.shield(making)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE})

    app.add_routes([web.get("/metrics", metrics)])
    return app


async def serve_unix(app: web.Application, path: Path) -> Callable[[], Awaitable[None]]:
    """Serve on a Unix socket of mode 0660; returns what ends it. Raises AddressInUse."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # Control holds its lock when it gets here: a socket that is left over is nobody's.
        path.unlink(missing_ok=True)
        bind(listener, path)
    except OSError as error:
        listener.close()
        raise AddressInUse(f"the admin socket {path} cannot be made: {error.strerror}") from None
    return await _serve(app, listener)


async def serve_tcp(app: web.Application, endpoint: Endpoint) -> Callable[[], Awaitable[None]]:
    """Serve on an address; returns what ends it. Raises AddressInUse."""
    family = socket.AF_INET6 if endpoint.host.version == 6 else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((str(endpoint.host), endpoint.port))
    except OSError as error:
        listener.close()
        raise AddressInUse(
            f"{endpoint} cannot be listened on ({error.strerror}): "
            "end what uses it, or choose another address"
        ) from None
    return await _serve(app, listener)


async def _serve(app: web.Application, listener: socket.socket) -> Callable[[], Awaitable[None]]:
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
    await runner.setup()
    serve = runner.server
    assert serve is not None

    def connection() -> asyncio.BaseProtocol:
        return serve() if len(serve.connections) < CONNECTIONS else _Refusal()

    server = await asyncio.get_running_loop().create_server(connection, sock=listener)

    async def stop() -> None:
        server.close()
        await runner.cleanup()

    return stop


class _Refusal(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.abort()
