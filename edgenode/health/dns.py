"""DNS probe: one question, and the answer's code and records decide.

dnspython makes the question and reads the answer (it follows no compression pointer in circles);
sockets and bounds are ours.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdata
import dns.rdatatype

from edgenode.config import DnsCheck, Endpoint, dnsvalues
from edgenode.health import sockets
from edgenode.health.observation import Observation, ProbeFailedError, Success, observe, printable

PAYLOAD = 1232
"""Bytes of an answer over UDP that we take (EDNS): it is never fragmented (DNS flag day 2020)."""

LONGEST = 16 * 1024
"""Bytes of an answer over TCP."""

MOST = 48
"""Records of an answer, those of all sections together: a name of many labels that each of them
points to takes milliseconds each time that it is read, and nothing else is done meanwhile."""

STRAYS = 32
"""Datagrams that are passed over: they are not for our question."""

HEADER = 12


class DnsProbe:
    """Up where the answer is as the check wants it."""

    def __init__(self, check: DnsCheck) -> None:
        self._target: Endpoint = check.target
        self._timeout = check.timeout
        self._tcp = check.transport == "tcp"
        self._what = f"{check.record} {check.query} at {check.target}"
        self._rcode = dns.rcode.from_text(check.rcode)
        self._type = dns.rdatatype.from_text(check.record)
        self._answers = [(text, dnsvalues.record(check.record, text)) for text in check.answers]
        self._question = dns.message.make_query(
            check.query,
            self._type,
            use_edns=0,
            payload=PAYLOAD,
            flags=dns.flags.RD if check.recursion else dns.flags.Flag(0),
        )
        self._wire = self._question.to_wire()[2:]

    async def __call__(self) -> Observation:
        """Probe once. Raises OSError where this process is at fault."""
        return await observe(self._attempt(), self._timeout, self._what)

    async def _attempt(self) -> Success:
        try:
            if not self._tcp:
                answer = await self._over_udp()
                if not answer.flags & dns.flags.TC:
                    return self._judge(answer)
            return self._judge(await self._over_tcp())
        except OSError as error:
            if error.errno in sockets.OWN_FAULT:
                raise
            raise ProbeFailedError(f"{self._what}: {error.strerror}") from None

    async def _over_udp(self) -> dns.message.Message:
        loop = asyncio.get_running_loop()
        family = socket.AF_INET if self._target.host.version == 4 else socket.AF_INET6
        with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
            # Connected: what comes from elsewhere is not given to us, and a closed port is told.
            sock.connect((str(self._target.host), self._target.port))
            wire = self._ask()
            await loop.sock_sendall(sock, wire)
            for _ in range(STRAYS):
                data = await loop.sock_recv(sock, 65535)
                if data[:2] == wire[:2] and (answer := self._read(data)) is not None:
                    return answer
        raise ProbeFailedError(f"{self._what}: {STRAYS} datagrams, and none answers our question")

    async def _over_tcp(self) -> dns.message.Message:
        loop = asyncio.get_running_loop()
        with sockets.open_stream(self._target) as sock:
            await sockets.connect(sock, self._target)
            wire = self._ask()
            await loop.sock_sendall(sock, len(wire).to_bytes(2) + wire)
            data = bytearray()
            length = LONGEST
            while len(data) < length + 2:
                chunk = await loop.sock_recv(sock, length + 2 - len(data))
                if not chunk:
                    reason = f"{self._what}: connection closed before the answer was there"
                    raise ProbeFailedError(reason, timed=True)
                data += chunk
                if len(data) >= 2:
                    length = int.from_bytes(data[:2])
                    if length > LONGEST:
                        raise ProbeFailedError(
                            f"{self._what}: the answer has {length} bytes, more than {LONGEST}"
                        )
        answer = self._read(bytes(data[2:]))
        if answer is None or data[2:4] != wire[:2]:
            raise ProbeFailedError(f"{self._what}: the answer is not for our question")
        return answer

    def _ask(self) -> bytes:
        """The question with an id of its own."""
        return random.randbytes(2) + self._wire

    def _read(self, data: bytes) -> dns.message.Message | None:
        """The answer; None where it is not for our question. Raises ProbeFailedError."""
        if len(data) < HEADER:
            return None
        records = sum(struct.unpack_from("!3H", data, 6))
        if records > MOST:
            raise ProbeFailedError(f"{self._what}: {records} records, more than {MOST}")
        try:
            # What lies behind a cut is not needed: its end may be in the middle of a record.
            answer = dns.message.from_wire(data, ignore_trailing=True, raise_on_truncation=False)
        except (dns.exception.DNSException, ValueError) as error:
            if data[2] & 0x02:  # TC
                return self._cut(data)
            raise ProbeFailedError(
                f"{self._what}: the answer is malformed: {printable(str(error))}"
            ) from None
        self._question.id = answer.id
        return answer if self._question.is_response(answer) else None

    def _cut(self, data: bytes) -> dns.message.Message:
        message = dns.message.QueryMessage(int.from_bytes(data[:2]))
        message.flags = dns.flags.Flag(int.from_bytes(data[2:4]))
        return message

    def _judge(self, answer: dns.message.Message) -> Success:
        code = dns.rcode.to_text(answer.rcode())
        if answer.rcode() != self._rcode:
            raise ProbeFailedError(f"{self._what}: {code}")
        records = self._records(answer)
        shown = _shown(records)
        for text, wanted in self._answers:
            if wanted not in records:
                raise ProbeFailedError(f"{self._what}: {code}, without {text}: {shown}")
        if self._rcode == dns.rcode.NOERROR and not records:
            raise ProbeFailedError(f"{self._what}: {code}, without a record of that type")
        return Success(f"{self._what}: {code}{', ' * bool(records)}{shown if records else ''}")

    def _records(self, answer: dns.message.Message) -> list[dns.rdata.Rdata]:
        """Those of the name asked for, or of where its CNAMEs lead: others are no answer."""
        name = self._question.question[0].name
        found: list[dns.rdata.Rdata] = []
        for _ in range(MOST):
            of_it = [rrset for rrset in answer.answer if rrset.name == name]
            found = [r for rrset in of_it if rrset.rdtype == self._type for r in rrset]
            aliases = [r for rrset in of_it if rrset.rdtype == dns.rdatatype.CNAME for r in rrset]
            if found or not aliases:
                break
            name = aliases[0].target
        return found


def _shown(records: list[dns.rdata.Rdata]) -> str:
    texts = [record.to_text() for record in records[:3]]
    more = f" and {len(records) - 3} more" if len(records) > 3 else ""
    return printable(", ".join(texts)) + more if texts else "no such record"
