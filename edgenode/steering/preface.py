"""What comes of a user before a worker is dialed: a proxy's PROXY header, and a TLS hello.

Both are awaited together until one deadline, and of bounded size (`proxyprotocol.LONGEST`,
`hello.LIMIT`, and one chunk that was read with the end of it). The hello is held and goes to the
worker as it came; the header is taken off.

All state is in the connection, as plain values: who goes on with it elsewhere needs only what is
held (the hello's reader is made anew from it), and the deadline.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence

from edgenode.steering import postgresql, proxyprotocol, sysio
from edgenode.steering.admission import OUTSIDE
from edgenode.steering.connection import CHUNK, Awaited, Connection, Phase, Route, Side
from edgenode.steering.door import Door
from edgenode.steering.hello import Bad, Hello, Outcome, Reader, Unfinished
from edgenode.steering.loop import Loop
from edgenode.steering.prefixes import address_of
from edgenode.steering.proxyprotocol import Header, ProxyProtocolError
from edgenode.steering.routing import Routes
from edgenode.steering.why import Why

_DECODE_ERROR, _MISSING_EXTENSION = 50, 109
_UNRECOGNIZED_NAME, _NO_APPLICATION_PROTOCOL = 112, 120
"""TLS alerts: RFC 8446 section 6, RFC 6066 section 3, RFC 7301 section 3.2."""

_MOST_NAMED = 4
"""Protocols of a hello that nobody takes which the log names: a hello has room for thousands."""

_FATAL = b"\x15\x03\x03\x00\x02\x02"  # an alert's record up to what it is


class Preface:
    """`admit(connection, client)` goes on when it is known whose user it is, `end(connection, why)`
    ends one that cannot be served; `has_place(connection)` says whether its service takes it, and
    ends it if not; `wait(connection)`: a proxy speaks for itself, and may never say more.

    `doors`: by listen address, as the newest table has them.
    """

    def __init__(
        self,
        loop: Loop,
        has_place: Callable[[Connection], bool],
        admit: Callable[[Connection, Side], None],
        wait: Callable[[Connection], None],
        end: Callable[[Connection, Why], None],
    ) -> None:
        self.doors: Mapping[str, Door] = {}
        self._loop = loop
        self._has_place = has_place
        self._admit = admit
        self._wait = wait
        self._end = end

    def begin(self, connection: Connection, client: Side, door: Door) -> None:
        """Await what the door asks for; some of it may be held already."""
        awaited = _awaited(connection)
        trusted, host = door.trusted, connection.client[0]
        if trusted is None or not trusted.decide(address_of(host)):
            awaited.introduced = True
        connection.phase = Phase.PREFACE
        # Who is not taken anyway is not waited for, where that is known already.
        if awaited.introduced and door.sole and not self._has_place(connection):
            return
        awaited.due = self._loop.now + door.timeout
        self.go_on(connection, client)
        if connection.phase is Phase.PREFACE:
            self._loop.timers.set(connection, awaited.due)

    def go_on(self, connection: Connection, client: Side) -> None:
        """Read what has come, until it is known whose user it is, or no more is there."""
        while not self._settled(connection, client):
            if client.eof:
                self._refuse(connection, client, *_cut_off(connection, client))
                return
            try:
                data = sysio.read(client.fd, CHUNK)
            except BlockingIOError:
                return
            except OSError:
                self._end(connection, Why.CLIENT_RESET)
                return
            client.eof = not data
            client.held += data

    def timed_out(self, connection: Connection) -> None:
        """What was awaited has not come in time."""
        introduced = _awaited(connection).introduced
        self._end(connection, Why.HELLO_TIMEOUT if introduced else Why.HEADER_TIMEOUT)

    def _settled(self, connection: Connection, client: Side) -> bool:
        """Whether no more is awaited: the connection has been admitted, ended or set aside."""
        awaited = _awaited(connection)
        door = self.doors.get(awaited.listen)
        if door is None:  # a newer table awaits nothing at this address, or does not name it
            self._admitted(connection, client, connection.route)
            return True
        if not awaited.introduced:
            if not client.held:
                return False
            try:
                header = proxyprotocol.decode(client.held)
            except ProxyProtocolError as error:
                self._refuse(connection, client, Why.BAD_PROXY_HEADER, str(error))
                return True
            if header is None:
                return False
            awaited.introduced = True
            _introduce(connection, header)
            client.held = client.held[header.size :]
            if header.local and not client.held:
                self._wait(connection)
                return True
        if door.routes is None:
            self._admitted(connection, client, connection.route)
            return True
        if not client.held:
            return False
        if awaited.hello is None:
            awaited.hello = Reader()
        found = awaited.hello.read(client.held)
        return self._told_apart(connection, client, door.routes, found)

    def _told_apart(
        self, connection: Connection, client: Side, routes: Routes[Route], found: Outcome
    ) -> bool:
        """Likewise, by what was read of the hello."""
        offered: Sequence[str] = (connection.alpn,) if connection.alpn else ()
        if isinstance(found, Hello):
            connection.sni, offered = found.sni, found.alpn
        elif isinstance(found, Bad):
            self._refuse(connection, client, Why.BAD_HELLO, found.reason, _alert(_DECODE_ERROR))
            return True
        elif found is Unfinished.MORE:
            return False
        chosen = routes.choose(connection.sni, offered)
        if chosen is not None:
            route, protocol = chosen
            connection.alpn = protocol or next(iter(offered), "")
            self._admitted(connection, client, route)
        elif isinstance(found, Hello):
            alert = _alert_for(routes, found)
            self._refuse(connection, client, Why.NO_ROUTE, _unknown(found), alert)
        else:
            return self._not_tls(connection, client)
        return True

    def _not_tls(self, connection: Connection, client: Side) -> bool:
        """Nobody takes what is no TLS here; but a PostgreSQL client can be told what to do."""
        postgres = postgresql.begins(client.held)
        if postgres:
            answer = postgresql.refusal()
            self._refuse(connection, client, Why.NOT_DIRECT_TLS, postgresql.REASON, answer)
        elif postgres is False:
            what = "it is no TLS, and no service here takes anything else"
            self._refuse(connection, client, Why.NO_ROUTE, what)
        return postgres is not None

    def _admitted(self, connection: Connection, client: Side, route: Route) -> None:
        if route is not connection.route:
            _move(connection, route)
        if not self._has_place(connection):
            return
        route.count.accepted += 1
        connection.awaited = None
        self._loop.timers.cancel(connection)
        self._admit(connection, client)

    def _refuse(
        self, connection: Connection, client: Side, why: Why, what: str, answer: bytes = b""
    ) -> None:
        connection.errors += (what,)
        if answer:
            with contextlib.suppress(OSError):  # it is gone, or does not read
                sysio.write(client.fd, answer)
        self._end(connection, why)


def _awaited(connection: Connection) -> Awaited:
    if connection.awaited is None:
        raise RuntimeError("nothing is awaited of this connection")
    return connection.awaited


def _introduce(connection: Connection, header: Header) -> None:
    """What the proxy in front says of its user."""
    if header.source is not None and header.destination is not None:
        connection.peer = connection.client
        connection.client, connection.local = header.source, header.destination
    connection.sni, connection.alpn = header.authority, header.alpn
    connection.unique_id = header.unique_id


def _move(connection: Connection, route: Route) -> None:
    """It is not of the service that stood for it so far."""
    before = connection.route
    before.count.live -= 1
    route.count.live += 1
    # With the same guard it goes on as who was let in: nobody pays a rate twice.
    guard = before.guard
    if connection.source != OUTSIDE and guard is not None and guard is not route.guard:
        guard.leave(connection.source)
        connection.source = OUTSIDE
    connection.route = route


def _cut_off(connection: Connection, client: Side) -> tuple[Why, str]:
    """Why a user is ended that closes its end too early."""
    if not client.held:
        return Why.NO_HELLO, "it has closed without a byte"
    if not _awaited(connection).introduced:
        return Why.BAD_PROXY_HEADER, "it is cut off"
    return Why.BAD_HELLO, "it is cut off"


def _alert(kind: int) -> bytes:
    return _FATAL + bytes((kind,))


def _alert_for(routes: Routes[Route], hello: Hello) -> bytes:
    if not hello.sni:
        return _alert(_MISSING_EXTENSION)  # RFC 8446 section 9.2
    return _alert(_NO_APPLICATION_PROTOCOL if routes.knows(hello.sni) else _UNRECOGNIZED_NAME)


def _unknown(hello: Hello) -> str:
    name = f'the name "{hello.sni}"' if hello.sni else "a hello without a server name"
    offered = ", ".join(hello.alpn[:_MOST_NAMED])
    if len(hello.alpn) > _MOST_NAMED:
        offered += f" and {len(hello.alpn) - _MOST_NAMED} more"
    return f"no service here takes {name}" + (f" with {offered}" if offered else "")
