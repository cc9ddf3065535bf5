"""HTTP probe: one GET; status, headers and body of its answer decide.

h11 reads the answer (interim responses, chunks, bounds of the head), on a raw socket of ours: no
pool, no redirects, no names to resolve, every read bounded, and the way the socket ends in our
hands.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

import h11

from edgenode.config import HttpCheck, certificates
from edgenode.health import sockets
from edgenode.health.match import Matcher
from edgenode.health.observation import Observation, ProbeFailedError, Success, observe, printable
from edgenode.health.streams import CHUNK, REST, PlainStream, Stream, part
from edgenode.health.tls import TlsClient, TlsStream

HEAD_LIMIT = 16 * 1024
"""Bytes of heads that are read at most, interim responses' included."""

BODY_LIMIT = 64 * 1024
"""Bytes of a body that are matched."""

RAW_LIMIT = BODY_LIMIT + 16 * 1024
"""Bytes that a body may take with the frames of its chunks, until it is read no further: chunks of
a byte each, by the ten thousand, take time in which nothing else is done."""


_COMPLETE = frozenset({h11.DONE, h11.MUST_CLOSE, h11.CLOSED, h11.ERROR})
"""States of the other side in which nothing of the answer is still to come."""


class HttpProbe:
    """Up where the answer is as the check wants it."""

    def __init__(self, check: HttpCheck) -> None:
        self._what = f"GET {check.url}"
        if check.unix_socket is not None:
            self._what += f" on {check.unix_socket}"
        self._target = target_of(check)
        self._timeout = check.timeout
        self._statuses = frozenset(check.status)
        self._headers = [(h.name.lower().encode(), h.name, Matcher(h)) for h in check.headers]
        self._body = Matcher(check.body) if check.body else None
        self._tls = TlsClient(check, certificates.server_name(check)) if check.url.tls else None
        self._request = h11.Request(
            method="GET",
            target=check.url.target,
            headers=[
                ("Host", check.host or str(check.url.endpoint)),
                ("User-Agent", "edgenode"),
                ("Accept", "*/*"),
                ("Connection", "close"),
            ],
        )

    async def __call__(self) -> Observation:
        """Probe once. Raises OSError where this process is at fault."""
        with sockets.open_stream(self._target) as sock:
            stream = TlsStream(sock, self._what) if self._tls else PlainStream(sock)
            exchange = Exchange(stream, self._what)
            attempt = self._attempt(sock, stream, exchange)
            observation = await observe(attempt, self._timeout, self._what)
            if observation.ok:
                await part(exchange.finish(), self._timeout - observation.duration)
            return observation

    async def _attempt(
        self, sock: socket.socket, stream: PlainStream | TlsStream, exchange: Exchange
    ) -> Success:
        await sockets.connect(sock, self._target)
        certificate = None
        try:
            if self._tls is not None and isinstance(stream, TlsStream):
                certificate = await stream.handshake(self._tls)
            reason = await self._exchange(exchange)
        except OSError as error:
            if error.errno in sockets.OWN_FAULT or error.errno is None:
                raise
            # The target may have given up on us because we were slow: hence `timed`.
            raise ProbeFailedError(f"{self._what}: {error.strerror}", timed=True) from None
        return self._tls.success(reason, certificate) if self._tls else Success(reason)

    async def _exchange(self, exchange: Exchange) -> str:
        response = await exchange.ask(self._request)
        reason = f"{self._what}: status {response.status_code}"
        if response.status_code not in self._statuses:
            raise ProbeFailedError(reason)
        for name, shown, matcher in self._headers:
            values = [value for header, value in response.headers if header == name]
            if not any(map(matcher, values)):
                has = f'is "{_shown(values[0])}"' if values else "is missing"
                raise ProbeFailedError(f"{reason}, header {shown} {has} and must {matcher}")
        if self._body is not None:
            body = await exchange.body(self._body.settled)
            if not self._body(body):
                raise ProbeFailedError(
                    f'{reason}, the body must {self._body} and begins "{_shown(body)}"'
                )
        return reason


def target_of(check: HttpCheck) -> sockets.Target:
    """Where it connects to."""
    return check.url.endpoint if check.unix_socket is None else check.unix_socket


class Exchange:
    """One request and its answer. What it raises: OSError, ProbeFailedError."""

    def __init__(self, stream: Stream, what: str) -> None:
        self._stream = stream
        self._what = what
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_LIMIT)
        self._head = 0
        self._closes = False

    async def ask(self, request: h11.Request) -> h11.Response:
        """Send the request; the final response's head."""
        end = h11.EndOfMessage()
        await self._stream.send((self._http.send(request) or b"") + (self._http.send(end) or b""))
        while True:
            event = self._next()
            if isinstance(event, h11.Response):
                self._closes = _closes(event)
                return event
            if event is h11.NEED_DATA:
                if self._head > HEAD_LIMIT:
                    raise self._failed(f"has more than {HEAD_LIMIT // 1024} KiB before its body")
                self._head += await self._more("before the head of the answer was there")

    async def body(self, settled: Callable[[bytearray, int], bool]) -> bytes:
        """The body, or as much of it as is wanted: until `settled` (of what there is, and how much
        of that it has seen before), and BODY_LIMIT bytes at most."""
        body = bytearray()
        raw = 0
        while len(body) < BODY_LIMIT and raw < RAW_LIMIT:
            event = self._next()
            if isinstance(event, h11.Data):
                seen = len(body)
                body += event.data
                if settled(body, seen):
                    break
            elif event is h11.NEED_DATA:
                raw += await self._more("")
            else:
                break
        return bytes(body[:BODY_LIMIT])

    async def finish(self) -> None:
        """Read on to the end of the answer, or of the connection where the target has said that
        it closes; REST bytes at most."""
        seen = 0
        while seen < REST:
            if self._http.their_state in _COMPLETE:
                if not self._closes or not (data := await self._stream.receive(CHUNK)):
                    return
                seen += len(data)
            elif self._next() is h11.NEED_DATA:
                seen += await self._more("before the end of the answer was there")

    async def _more(self, before: str) -> int:
        data = await self._stream.receive(CHUNK)
        if not data and before:
            raise ProbeFailedError(f"{self._what}: connection closed {before}", timed=True)
        self._http.receive_data(data)
        return len(data)

    def _next(self) -> object:
        try:
            return self._http.next_event()
        except h11.RemoteProtocolError as error:
            raise self._failed(f"is malformed HTTP/1: {printable(str(error))}") from None

    def _failed(self, why: str) -> ProbeFailedError:
        return ProbeFailedError(f"{self._what}: the answer {why}")


def _closes(response: h11.Response) -> bool:
    """Whether the target closes after it, as we ask all to: some hold on (RFC 9112, 9.3)."""
    said = [value.lower() for name, value in response.headers if name == b"connection"]
    if any(b"close" in value for value in said):
        return True
    return response.http_version < b"1.1" and not any(b"keep-alive" in value for value in said)


def _shown(text: bytes) -> str:
    return printable(text[:60].decode("utf-8", "replace"))
