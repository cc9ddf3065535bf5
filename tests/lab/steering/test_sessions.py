"""Sessions of real protocols go through, while one table follows the other."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from edgenode.steering.table import Bind, RegionTargets, Service, Table, Target
from tests.lab.steering.daemons import certificate, haproxy, postgresql, redis, sshd
from tests.unit.steering.process import Address, Control, Steering
from tests.unit.steering.running import PATIENCE, USER, eventually, read_exactly

SOAK = float(os.environ.get("EDGENODE_SOAK", "180"))
"""Seconds of each slow test."""

IDLE = 60.0 + 2 * SOAK
"""Seconds: psql says nothing while the two pgbench, a half of SOAK each, and its copy run."""


@pytest.fixture
def addresses() -> Iterator[tuple[Address, Address]]:
    """Steering's, and the server's."""
    made = Address(), Address()
    yield made
    for one in made:
        one.close()


class Tables:
    """Tables that differ each time: order, weights, who is there; the server is always there."""

    def __init__(self, steering: Steering, edge: Address, server: Address) -> None:
        self.revision = 0
        self._edge = edge
        self._server = server
        self._control = steering.control()

    def publish(self) -> None:
        self.revision += 1
        assert self._control.publish(self._table())["type"] == "applied"

    def _table(self) -> Table:
        number, server = self.revision, self._server
        near = RegionTargets("near", (Target("a", server.host, server.port, 1 + number % 3),))
        other = Target(f"b{number % 2}", server.host, server.port)
        far = RegionTargets("far", (replace(other, worker="c"), other))
        regions = (near, far) if number % 2 else (far, near)[: 1 + number % 3]
        service = Service("db", (str(self._edge),), "none", 2.0, IDLE + number % 5, regions)
        # Another comes and goes beside it, at the same address.
        tls = replace(service, name="tls", sni=("db.example",))
        services = (service, tls) if number % 4 else (service,)
        return Table(number, "lon1", Bind(), services)

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Ten a second, until the end."""
        over, errors = threading.Event(), list[BaseException]()

        def change() -> None:
            try:
                while not over.wait(0.1):
                    self.publish()
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=change)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(PATIENCE)
        assert errors == []
        assert self.revision > 3

    def report(self) -> dict[str, object]:
        found: dict[str, object] = self._control.report()["services"]["db"]
        return found

    def close(self) -> None:
        Control.__exit__(self._control)


@pytest.fixture
def tables(steering: Steering, addresses: tuple[Address, Address]) -> Iterator[Tables]:
    made = Tables(steering, *addresses)
    made.publish()
    yield made
    made.close()


def run_postgresql(edge: Address, server: Address, tables: Tables, seconds: float) -> None:
    with postgresql(server) as programs:
        where = ["-h", edge.host, "-p", str(edge.port), "-U", "postgres"]

        def call(*command: str, text: str | None = None) -> str:
            done = subprocess.run(
                command,
                input=text,
                capture_output=True,
                text=True,
                timeout=seconds + 60,
                env={**os.environ, "PGSSLMODE": "require"},  # by an SSLRequest
            )
            assert done.returncode == 0, done.stderr
            return done.stdout

        def bench(*options: str) -> None:
            said = call(f"{programs}/pgbench", *where, *options, "postgres")
            failed = re.search(r"number of failed transactions: (\d+)", said)
            assert failed is not None, said
            assert failed[1] == "0", said
            assert re.search(r"number of transactions actually processed: [1-9]", said), said

        session = subprocess.Popen(
            ["psql", *where, "-qtA", "postgres"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PGSSLMODE": "require"},
        )
        assert session.stdin is not None
        assert session.stdout is not None

        def ask(question: str) -> str:
            assert session.stdin is not None
            assert session.stdout is not None
            session.stdin.write(f"{question};\n")
            session.stdin.flush()
            return session.stdout.readline().strip()

        with session:
            backend = ask("SELECT pg_backend_pid()")
            assert ask("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()") == "t"
            with tables.changing():
                call(f"{programs}/pgbench", *where, "-i", "-q", "-s", "1", "postgres")
                bench("-n", "-c", "4", "-T", f"{max(1, int(seconds / 2))}")
                # A new connection for each transaction.
                bench("-n", "-C", "-c", "2", "-T", f"{max(1, int(seconds / 2))}")
                digest = ask("SELECT md5(string_agg(aid::text || filler, '' ORDER BY aid)) FROM"
                             " pgbench_accounts")  # fmt: skip
                rows = call("psql", *where, "-c", "COPY pgbench_accounts TO STDOUT", "postgres")
                copied = "CREATE TABLE copied (LIKE pgbench_accounts); COPY copied FROM STDIN;\n"
                call("psql", *where, "-q", "postgres", text=copied + rows + "\\.\n")
            assert (
                ask("SELECT md5(string_agg(aid::text || filler, '' ORDER BY aid)) FROM copied")
                == digest
            )
            assert ask("SELECT pg_backend_pid()") == backend
            session.stdin.close()
            assert session.wait(PATIENCE) == 0


def run_redis(
    directory: Path, edge: Address, server: Address, tables: Tables, seconds: float
) -> None:
    with redis(directory, server):
        reader, writer = connect(edge), connect(edge)
        with reader, writer, tables.changing():
            reader.sendall(b"SUBSCRIBE news\r\n")
            assert line(reader) == b"*3"
            read_exactly(reader, len(b"$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n"))
            value = os.urandom(1 << 20)
            writer.sendall(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%d\r\n%b\r\n" % (len(value), value))
            assert line(writer) == b"+OK"
            number, until = 0, time.monotonic() + seconds / 2
            while time.monotonic() < until or number < 20:
                number += 1
                writer.sendall(b"PUBLISH news %d\r\n" % number)
                assert line(writer) == b":1"
                told = b"*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$%d\r\n%d\r\n"
                wanted = told % (len(str(number)), number)
                assert read_exactly(reader, len(wanted)) == wanted
            command = ["redis-benchmark", "-h", edge.host, "-p", str(edge.port), "-q", "-c", "20"]
            requests = ["-n", f"{int(2000 * seconds)}", "-t", "set,get", "-d", "1000"]
            done = subprocess.run(
                [*command, *requests], capture_output=True, text=True, timeout=seconds * 10 + 60
            )
            assert done.returncode == 0, done.stdout + done.stderr
            assert "Error" not in done.stdout + done.stderr
            writer.sendall(b"GET k\r\n")
            assert line(writer) == b"$%d" % len(value)
            assert read_exactly(writer, len(value) + 2) == value + b"\r\n"
            # It ends its sending, and still gets what it has asked for.
            writer.sendall(b"GET k\r\n")
            writer.shutdown(socket.SHUT_WR)
            assert line(writer) == b"$%d" % len(value)
            assert read_exactly(writer, len(value) + 2) == value + b"\r\n"
            assert writer.recv(1) == b""


def run_ssh(
    directory: Path, edge: Address, server: Address, tables: Tables, seconds: float
) -> None:
    with sshd(directory, server) as options, tables.changing():
        command = ["ssh", *options, "-p", str(edge.port), edge.host, "cat"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as session:
            assert session.stdin is not None
            assert session.stdout is not None
            number, until = 0, time.monotonic() + seconds
            while time.monotonic() < until or number < 20:
                number += 1
                session.stdin.write(b"%d\n" % number)
                session.stdin.flush()
                assert session.stdout.readline() == b"%d\n" % number
                time.sleep(0.01)  # as one who types
            body = os.urandom(4 << 20)
            done = subprocess.run(command, input=body, capture_output=True, timeout=60)
            assert (done.returncode, done.stderr) == (0, b"")
            assert done.stdout == body
            session.stdin.close()
            assert session.wait(PATIENCE) == 0


def connect(edge: Address) -> socket.socket:
    made = socket.create_connection((edge.host, edge.port), PATIENCE, (USER, 0))
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


def line(connection: socket.socket) -> bytes:
    found = b""
    while not found.endswith(b"\r\n"):
        found += read_exactly(connection, 1)
    return found[:-2]


Run = Callable[[float], None]


@pytest.fixture
def postgres_session(addresses: tuple[Address, Address], tables: Tables) -> Run:
    return lambda seconds: run_postgresql(*addresses, tables, seconds)


@pytest.fixture
def redis_session(tmp_path: Path, addresses: tuple[Address, Address], tables: Tables) -> Run:
    return lambda seconds: run_redis(tmp_path, *addresses, tables, seconds)


@pytest.fixture
def ssh_session(tmp_path: Path, addresses: tuple[Address, Address], tables: Tables) -> Run:
    return lambda seconds: run_ssh(tmp_path, *addresses, tables, seconds)


def test_postgresql(postgres_session: Run) -> None:
    """pgbench and psql, by TLS that the server and not steering answers to."""
    postgres_session(2.0)


def test_redis(redis_session: Run) -> None:
    """Two sessions that stay, many that are busy."""
    redis_session(1.0)


def test_ssh(ssh_session: Run) -> None:
    """Somebody types, and then another copies a file, with new keys for each MiB."""
    ssh_session(1.0)


def test_postgresql_by_its_name(
    tmp_path: Path, steering: Steering, addresses: tuple[Address, Address]
) -> None:
    """Direct TLS, which a proxy beside the worker ends; others are ended at once, with an error."""
    edge, server = addresses
    back = Address()
    keys = certificate(tmp_path)
    ended = (
        f"listen back\n  mode tcp\n  bind {back} accept-proxy ssl crt {keys} alpn postgresql\n"
        f"  server db {server}\n"
    )
    region = RegionTargets("near", (Target("a", back.host, back.port),))
    service = Service("db", (str(edge),), "v2", 2.0, 60.0, (region,), sni=("db.example",))
    with steering.control() as control:
        control.publish(Table(1, "lon1", Bind(), (service,)))
    where: dict[str, Any] = {
        "host": "db.example",
        "hostaddr": edge.host,
        "port": edge.port,
        "user": "postgres",
        "dbname": "postgres",
        "sslmode": "require",
        "connect_timeout": int(PATIENCE),
    }
    with postgresql(server), haproxy(tmp_path, ended, back):
        with psycopg.connect(**where, sslnegotiation="direct") as session:
            for number in range(100):
                assert session.execute("SELECT %s + 1", (number,)).fetchone() == (number + 1,)
        with pytest.raises(psycopg.OperationalError, match="error"):
            psycopg.connect(**where)
        # libpq shows no text of who has not yet shown a certificate, but in plain it does.
        psql = f"psql -h {edge.host} -p {edge.port} -U postgres -c SELECT".split()
        for mode, shown in ("require", "error"), ("disable", "connect with sslnegotiation=direct"):
            env = {**os.environ, "PGSSLMODE": mode}
            told = subprocess.run(psql, capture_output=True, text=True, timeout=PATIENCE, env=env)
            assert shown in told.stderr
        with pytest.raises(psycopg.OperationalError, match=r"(?i)alert|unrecognized"):
            psycopg.connect(**{**where, "host": "other.example"}, sslnegotiation="direct")
    back.close()
    with steering.control() as control:

        def counted() -> bool:
            endings: dict[str, int] = control.report()["figures"]["db"]["endings"]
            return {"not-direct-tls": 3, "no-route": 1}.items() <= endings.items()

        eventually(counted)


@pytest.mark.slow
@pytest.mark.timeout(int(SOAK * 5 + 300))
def test_postgresql_for_minutes(postgres_session: Run) -> None:
    postgres_session(SOAK)


@pytest.mark.slow
@pytest.mark.timeout(int(SOAK * 5 + 300))
def test_redis_for_minutes(redis_session: Run) -> None:
    redis_session(SOAK)


@pytest.mark.slow
@pytest.mark.timeout(int(SOAK * 5 + 300))
def test_ssh_for_minutes(ssh_session: Run) -> None:
    ssh_session(SOAK)
