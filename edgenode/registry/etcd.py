"""etcd's v3 API over its JSON gateway (etcd 3.4 and newer serve it at ``/v3/``), by aiohttp.

Why no client library: of those for Python, python-etcd3 (in Debian) had its last release in 2020
and blocks, and aetcd, which is alive, wants a grpcio and a protobuf that are newer than Debian's;
both bring a C++ runtime with threads of its own into the process that holds the announcements.
What is needed are seven calls, and aiohttp is here already.

The gateway's JSON (grpc-gateway): keys and values in base64, 64-bit numbers as text, fields with
their default left out, errors as ``{"code": N, "message": …}`` with the codes of gRPC; streams are
one object a line, ``{"result": …}`` or ``{"error": …}``.
https://etcd.io/docs/v3.5/dev-guide/api_grpc_gateway/ and .../learning/api/
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
import os
import ssl
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp

from edgenode.config import certificates, secrets
from edgenode.config.registry import Access, EtcdUrl
from edgenode.registry.threads import Resolver, in_thread

log = logging.getLogger(__name__)

MAX_ANSWER = 16 * 1024 * 1024
"""Bytes of one answer, or of one line of a stream: etcd's own limit of a request is 1.5 MiB, and
of a page we ask for some hundred records."""

UNKNOWN, INVALID_ARGUMENT, NOT_FOUND, PERMISSION_DENIED = 2, 3, 5, 7
FAILED_PRECONDITION, OUT_OF_RANGE, UNAVAILABLE, UNAUTHENTICATED = 9, 11, 14, 16
DEADLINE_EXCEEDED = 4
"""gRPC's status codes (grpc/statuscodes.md) that tell cases apart here."""

Json = Mapping[str, Any]


class EtcdError(Exception):
    """What was asked of etcd was not done; the text says what was tried, and on whom."""


class Unavailable(EtcdError):
    """No endpoint answered, or none that is one of a working cluster."""


class TooLong(EtcdError):
    """An answer is longer than may be kept: less is to be asked for at a time."""


class Refused(EtcdError):
    """etcd answered, and will not do it."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


class Etcd:
    """A cluster, through whichever of its members answers. Close it when done."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._at = 0
        self._token: str | None = None
        self._session: aiohttp.ClientSession | None = None
        self._opening = asyncio.Lock()

    @property
    def endpoint(self) -> EtcdUrl:
        """The one that is asked, or will be asked next."""
        return self._access.endpoints[self._at]

    async def close(self) -> None:
        """End all connections; the next call makes new ones, with the files as they are then."""
        session, self._session, self._token = self._session, None, None
        if session is not None:
            await session.close()

    async def next_endpoint(self) -> None:
        """Ask another one from now on, and read files anew: one may have been replaced."""
        self._at = (self._at + 1) % len(self._access.endpoints)
        await self.close()

    async def call(self, path: str, body: Json, *, here_only: bool = False) -> Json:
        """One request: ``call("kv/range", {…})``.

        Endpoints are tried in turn, unless `here_only`. Raises Unavailable, Refused, TooLong. One
        that changes something may have been done although no answer came.
        """
        failures: list[str] = []
        for _ in self._access.endpoints:
            try:
                return await self._authorized(path, body)
            except Unavailable as error:
                if here_only:
                    raise
                failures.append(str(error))
                await self.next_endpoint()
        raise Unavailable("; ".join(dict.fromkeys(failures)))

    async def watch(self, create: Json) -> AsyncIterator[Json]:
        """The responses to a watch, at the present endpoint; ends where the stream does.

        The first one comes within the timeout. Raises Unavailable, Refused, TooLong.
        """
        url = self.endpoint
        try:
            async with asyncio.timeout(self._access.timeout):
                session, token = await self._opened()
                response = await session.post(
                    f"{url}/v3/watch",
                    data=json.dumps({"create_request": create}),
                    headers=_headers(token),
                    allow_redirects=False,
                )
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise Unavailable(_no_answer(url, error, self._access.timeout)) from None
        except asyncio.CancelledError:
            raise _cut_off(url) from None
        async with response:
            if response.status != 200:
                raise self._failure(url, response.status, await _read(response, url))
            async for line in _lines(response, url):
                answer = _decoded(line, url)
                if "error" in answer:
                    raise self._failure(url, 200, line)
                result = answer.get("result")
                if not isinstance(result, dict):
                    raise Unavailable(f"{url} does not answer as etcd does")
                yield result

    # -- one endpoint -----------------------------------------------------------------------

    async def _authorized(self, path: str, body: Json) -> Json:
        """With a token, and another one where this one has ended (they do after 5 minutes)."""
        had = self._token
        try:
            return await self._post(path, body)
        except Refused as error:
            ended = error.code == UNAUTHENTICATED or "revision of auth store is old" in str(error)
            if not ended or self._access.user is None or had is None:
                raise
        self._token = None
        return await self._post(path, body)

    async def _post(self, path: str, body: Json) -> Json:
        url = self.endpoint
        try:
            async with asyncio.timeout(self._access.timeout):
                session, token = await self._opened()
                return await self._exchange(session, url, path, body, token)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise Unavailable(_no_answer(url, error, self._access.timeout)) from None
        except asyncio.CancelledError:
            raise _cut_off(url) from None

    async def _exchange(
        self, session: aiohttp.ClientSession, url: EtcdUrl, path: str, body: Json, token: str | None
    ) -> Json:
        async with session.post(
            f"{url}/v3/{path}",
            data=json.dumps(body),
            headers=_headers(token),
            allow_redirects=False,
        ) as response:
            raw = await _read(response, url)
            if response.status != 200:
                raise self._failure(url, response.status, raw)
            return _decoded(raw, url)

    async def _opened(self) -> tuple[aiohttp.ClientSession, str | None]:
        """Raises Unavailable where files are not as they should be, Refused by etcd."""
        async with self._opening:
            return await self._open()

    async def _open(self) -> tuple[aiohttp.ClientSession, str | None]:
        if self._session is None:
            try:
                context = await in_thread(_tls, self._access)
            except ValueError as error:
                raise Unavailable(str(error)) from None
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    ssl=context, limit=8, resolver=Resolver(), ttl_dns_cache=10
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None),
            )
        session = self._session
        if self._access.user is not None and self._token is None:
            token = await self._authenticate(session, self._access.user)
            if session.closed:  # by another task, meanwhile
                raise Unavailable(f"{self.endpoint}: the connection was closed")
            self._token = token
        return session, self._token or None

    async def _authenticate(self, session: aiohttp.ClientSession, user: str) -> str:
        """A token; empty where etcd wants none."""
        assert self._access.password_file is not None
        url = self.endpoint
        try:
            password = await in_thread(secrets.line, self._access.password_file)
        except secrets.SecretError as error:
            raise Unavailable(str(error)) from None
        if session.closed:  # by another task, meanwhile
            raise Unavailable(f"{url}: the connection was closed")
        try:
            async with asyncio.timeout(self._access.timeout):
                body = {"name": user, "password": password}
                answer = await self._exchange(session, url, "auth/authenticate", body, None)
        except Refused as error:
            if error.code == FAILED_PRECONDITION:  # authentication is not enabled
                return ""
            if error.code == INVALID_ARGUMENT:
                text = f"{url} does not let user {user} in: look at user and password_file"
                raise Refused(text, error.code) from None
            raise
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise Unavailable(_no_answer(url, error, self._access.timeout)) from None
        token = answer.get("token")
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise Unavailable(f"{url} does not answer as etcd does: no token")
        return token

    def _failure(self, url: EtcdUrl, status: int, raw: bytes) -> EtcdError:
        """What an answer that is none says."""
        said: Any = None
        with contextlib.suppress(Unavailable):
            said = _decoded(raw, url)
            if isinstance(said.get("error"), dict):  # in a stream
                said = said["error"]
        if not isinstance(said, Mapping) or not ("message" in said or "error" in said):
            return Unavailable(f"{url} does not answer as etcd does: HTTP status {status}")
        code = said.get("code", said.get("grpc_code"))
        code = code if isinstance(code, int) else UNKNOWN
        message = _printable(str(said.get("message") or said.get("error")))
        if code in {UNAVAILABLE, DEADLINE_EXCEEDED}:
            return Unavailable(f"{url}: {message}")
        if code == UNAUTHENTICATED:
            self._token = None
        if code == PERMISSION_DENIED:
            user = self._access.user or "(none)"
            text = f"{url}: user {user} may not do that ({message}): give its role the prefix"
            return Refused(f"{text} {self._access.prefix}/", code)
        return Refused(f"{url}: {message}", code)


def _tls(access: Access) -> ssl.SSLContext:
    """Raises ValueError."""
    made = certificates.context(secrets.tls_of(access))
    # A check tells of dates itself; here one that has ended is refused.
    made.verify_flags = ssl.VerifyFlags(made.verify_flags & ~certificates.NO_CHECK_TIME)
    return made


def _headers(token: str | None) -> dict[str, str]:
    plain = {"Content-Type": "application/json"}
    return plain if token is None else {**plain, "Authorization": token}


def _cut_off(url: EtcdUrl) -> BaseException:
    """What a CancelledError is: aiohttp raises one, too, where another task closed the session."""
    task = asyncio.current_task()
    if task is None or task.cancelling():
        return asyncio.CancelledError()
    return Unavailable(f"{url}: the connection was closed")


def _no_answer(url: EtcdUrl, error: Exception, timeout: float) -> str:
    if isinstance(error, TimeoutError):
        return f"{url}: no answer within {timeout:g} s"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"{url}: its certificate is not accepted: {_printable(str(error.certificate_error))}"
    return f"{url}: {_reason(error)}"


def _reason(error: Exception) -> str:
    """In the system's words, or ours, where Python's would be of its own parts."""
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "it ended the connection without an answer"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "it ended the connection in the middle of an answer"
    if isinstance(error, aiohttp.ClientConnectorError):
        error = error.os_error
    if isinstance(error.__cause__, ssl.SSLError):  # told once the handshake seemed done (RFC 8446)
        error = error.__cause__
    if isinstance(error, ssl.SSLError):
        return f"no TLS: {_printable(error.reason or str(error)).replace('_', ' ').lower()}"
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return _printable(text) or type(error).__name__


async def _read(response: aiohttp.ClientResponse, url: EtcdUrl) -> bytes:
    """The whole answer. Raises TooLong."""
    parts, size = [], 0
    async for part in response.content.iter_any():
        size += len(part)
        if size > MAX_ANSWER:
            raise TooLong(f"{url}: an answer of more than {MAX_ANSWER} bytes")
        parts.append(part)
    return b"".join(parts)


async def _lines(response: aiohttp.ClientResponse, url: EtcdUrl) -> AsyncIterator[bytes]:
    """The lines of a stream, until it ends. Raises Unavailable, TooLong."""
    rest = bytearray()
    try:
        async for part in response.content.iter_any():
            rest += part
            *whole, last = rest.split(b"\n") if b"\n" in part else (rest,)
            rest = bytearray(last)
            for line in whole:
                if line.strip():
                    yield bytes(line)
            if len(rest) > MAX_ANSWER:
                raise TooLong(f"{url}: an answer of more than {MAX_ANSWER} bytes")
    except (aiohttp.ClientError, OSError) as error:
        raise Unavailable(f"{url}: the watch was cut: {_reason(error)}") from None


def _decoded(raw: bytes, url: EtcdUrl) -> Json:
    try:
        answer = json.loads(raw)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise Unavailable(f"{url} does not answer as etcd does: what it sends is no JSON object")
    return answer


def _printable(text: str) -> str:
    plain = " ".join(text.split())[:200]
    return "".join(c if c.isprintable() else "?" for c in plain)


def encoded(key: str | bytes) -> str:
    """A key or value as the gateway takes it."""
    raw = key.encode() if isinstance(key, str) else key
    return base64.b64encode(raw).decode()


def range_end(prefix: str) -> str:
    """What `range_end` is of all keys with a prefix, encoded. (It does not end in 0xff here.)"""
    raw = prefix.encode()
    return encoded(raw[:-1] + bytes([raw[-1] + 1]))
