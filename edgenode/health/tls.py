"""TLS: our side of it from the configuration's options, and what the target's certificate says.

A certificate's dates are not part of its verification (X509_V_FLAG_NO_CHECK_TIME): they make a
warning and never a failure. Neither the end of a certificate, which all nodes meet in the same
second, nor a clock that was set wrong may withdraw a service.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import socket
import ssl
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from cryptography import x509

from edgenode.config import TlsOptions, certificates
from edgenode.health.observation import ProbeFailedError, Success, printable

_log = logging.getLogger(__name__)

RECORD = 16 * 1024 + 512
"""Bytes that are read at a time: a record and its frame (RFC 8446, 5.2)."""

MOST = 256 * 1024
"""Bytes that a handshake, or a portion of data, may take: OpenSSL takes tickets without end."""

SILENCE = 0.2
"""Seconds, at least, in which a target has to refuse us after a handshake of TLS 1.3."""

DAY = 86400.0

T = TypeVar("T")


class TlsClient:
    """Our side of TLS. Files that are replaced are read again; ones that are no good then leave
    what was read before in use."""

    def __init__(self, options: TlsOptions, server_name: str) -> None:
        """`server_name`: a DNS name or an address, which the certificate must be for."""
        self.server_name = server_name
        self._files = certificates.Files.of(options)
        self._expiry_warning = options.expiry_warning
        self._marks: list[tuple[int, int]] | None = None
        self._context: ssl.SSLContext | None = None
        self._seen = b""
        self._dates: tuple[float, float] | str = ""

    def context(self) -> ssl.SSLContext:
        """Raises ProbeFailedError where the files have never been of use: the check fails then."""
        marks = [_mark(path) for path in self._files.paths()]
        if self._context is None or marks != self._marks:
            try:
                self._context = _context(self._files, tuple(marks))
            except ValueError as error:
                if self._context is None:
                    raise ProbeFailedError(str(error)) from None
                _log.error("%s: what was read before stays in use", error)
            self._marks = marks
        return self._context

    def success(self, reason: str, certificate: bytes | None) -> Success:
        """With what the certificate (DER) makes of it."""
        if certificate is None:
            return Success(reason)
        if certificate != self._seen:
            self._seen, self._dates = certificate, _dates(certificate)
        if isinstance(self._dates, str):
            return Success(reason, self._dates)
        begins, ends = self._dates
        warning = age_warning(begins, ends, time.time(), self._expiry_warning)
        return Success(reason, warning, ends)


@functools.lru_cache(maxsize=32)
def _context(files: certificates.Files, marks: tuple[tuple[int, int], ...]) -> ssl.SSLContext:
    """Shared by all checks with the same files: the system's certificates take a megabyte."""
    return certificates.context(files)


def _mark(path: Path) -> tuple[int, int]:
    try:
        status = os.stat(path)
    except OSError:
        return (0, 0)
    return (status.st_ino, status.st_mtime_ns)


def _dates(certificate: bytes) -> tuple[float, float] | str:
    """When it begins and ends, in seconds of the epoch; else what is wrong with it."""
    try:
        parsed = x509.load_der_x509_certificate(certificate)
        return parsed.not_valid_before_utc.timestamp(), parsed.not_valid_after_utc.timestamp()
    except (ValueError, x509.InvalidVersion) as error:  # OpenSSL, which took it, is less strict
        return f"its certificate cannot be read: {printable(str(error))}"


def age_warning(begins: float, ends: float, now: float, patience: float) -> str:
    """What there is to say of a certificate's dates; pure. `patience`: seconds before its end."""
    if now < begins:
        return f"its certificate is not valid before {_date(begins)}"
    if now >= ends:
        return f"its certificate has ended at {_date(ends)}"
    if ends - now < patience:
        left = ends - now
        about = f"{left / DAY:.0f} days" if left >= 2 * DAY else f"{left / 3600:.0f} hours"
        return f"its certificate ends in {about}, at {_date(ends)}"
    return ""


def _date(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")


class TlsStream:
    """TLS on a connected socket. The caller bounds the time; OpenSSL the memory."""

    def __init__(self, sock: socket.socket, what: str) -> None:
        """`what` names the attempt in reasons."""
        self._sock = sock
        self._what = what
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls: ssl.SSLObject

    async def handshake(self, client: TlsClient) -> bytes | None:
        """The target's certificate in DER. Raises ProbeFailedError, OSError."""
        self._tls = client.context().wrap_bio(
            self._incoming, self._outgoing, server_hostname=client.server_name
        )
        await self._pump(self._tls.do_handshake)
        return self._tls.getpeercert(binary_form=True)

    @property
    def version(self) -> str:
        """Of the protocol: "TLSv1.3"."""
        return self._tls.version() or "TLS"

    async def accepted(self, patience: float) -> None:
        """Whether the target takes us, after the handshake. Raises ProbeFailedError, OSError.

        Under TLS 1.3 our handshake is over before the target has seen our certificate, or that we
        have none (RFC 8446, 4.4.2.4). One that refuses sends an alert, or just closes. One that
        takes us sends session tickets or its data, or is silent, for `patience` seconds then.
        """
        if self.version != "TLSv1.3":
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                while True:
                    waiting = self._incoming.pending
                    try:
                        if self._tls.read(1):
                            return
                        break
                    except ssl.SSLWantReadError:
                        if waiting:
                            return  # a ticket
                    except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                        break
                    except ssl.SSLError as error:
                        raise ProbeFailedError(f"{self._what}: {explain(error)}") from None
                    await self._fill()
            raise ProbeFailedError(
                f"{self._what}: closed right after the handshake: does it want a certificate of us?"
            )

    async def send(self, data: bytes) -> None:
        """Raises ProbeFailedError, OSError."""
        try:
            await self._pump(lambda: self._tls.write(data))
        except ConnectionError:
            await self._pump(lambda: self._tls.read(1))  # an alert says why it does not listen
            raise

    async def receive(self, size: int) -> bytes:
        """Nothing at the end, with or without close_notify: the framing inside tells what lacks.

        Raises ProbeFailedError, OSError.
        """
        return await self._pump(lambda: self._tls.read(size), at_end=b"")

    async def say_goodbye(self) -> None:
        """Send close_notify. Raises OSError."""
        with contextlib.suppress(ssl.SSLError):
            self._tls.unwrap()
        await self._flush()

    async def _pump(self, step: Callable[[], T], at_end: T | None = None) -> T:
        taken = 0
        while True:
            try:
                result = step()
            except ssl.SSLWantReadError:
                pass
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                if at_end is not None:
                    return at_end
                reason = f"{self._what}: connection closed in the middle of TLS"
                raise ProbeFailedError(reason, timed=True) from None
            except ssl.SSLError as error:
                await self._flush()  # the alert tells the target's log why
                raise ProbeFailedError(f"{self._what}: {explain(error)}") from None
            else:
                await self._flush()
                return result
            await self._flush()
            if taken > MOST:
                raise ProbeFailedError(f"{self._what}: {taken} bytes of TLS, and nothing in them")
            taken += await self._fill()

    async def _fill(self) -> int:
        """Bytes that came in; 0: it is the end."""
        await asyncio.sleep(0)  # what is there already is read without a turn for anybody else
        data = await asyncio.get_running_loop().sock_recv(self._sock, RECORD)
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()
        return len(data)

    async def _flush(self) -> None:
        if data := self._outgoing.read():
            await asyncio.get_running_loop().sock_sendall(self._sock, data)


def explain(error: ssl.SSLError) -> str:
    """One clause on why TLS failed."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {printable(error.verify_message)}"
    text = (error.reason or error.strerror or str(error)).replace("_", " ").lower()
    return f"TLS failed: {printable(text)}"
