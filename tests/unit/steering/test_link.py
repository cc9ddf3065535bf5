"""Control's end of steering's socket, against a real steering."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgenode.steering.link import SteeringLink
from edgenode.steering.report import Report
from tests.unit.steering.process import Address, Steering, ask, linked, table
from tests.unit.steering.running import PATIENCE, Worker, echo


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110  (what is waited for is in other processes)
            await asyncio.sleep(0.01)


def accepted(report: Report) -> int:
    return report.services["web"].accepted if "web" in report.services else 0


async def test_the_newest_table_is_sent_again_after_a_restart(steering: Steering) -> None:
    worker, address = Worker(echo), Address()
    targets = (worker.target("fra-1"),)
    reports: list[Report] = []
    changes: list[bool] = []
    async with linked(steering.socket) as link:
        link.on_report = reports.append
        link.on_connected = changes.append
        link.publish(table(1, targets=targets))
        link.publish(table(2, address, targets=targets))
        await until(lambda: link.applied == 2)
        assert link.connected
        assert await asyncio.to_thread(ask, address) == b"x"
        await until(lambda: reports and accepted(reports[-1]) == 1)
        assert reports[-1].relays[0].healthy
        await asyncio.to_thread(steering.saved, 2)
        steering.kill()
        steering.table.unlink()
        await until(lambda: not link.connected)
        assert link.report is None
        link.publish(table(3, address, targets=targets))
        steering.start()
        await until(lambda: link.applied == 3)
        assert await asyncio.to_thread(ask, address) == b"x"
    assert changes == [True, False, True, False]
    worker.close()
    address.close()


async def test_a_refusal_is_told(steering: Steering, caplog: pytest.LogCaptureFixture) -> None:
    async with linked(steering.socket) as link:
        link.publish(table(-1))
        await until(lambda: link.refusal)
        assert link.refusal is not None
        assert link.refusal.startswith("revision: -1 is not")
        link.publish(table(1))
        await until(lambda: link.applied == 1)
        assert link.refusal is None
    assert "steering refuses table -1" in caplog.text


class Fake:
    """A steering that only answers as it is told: `answers` are sent one after each table."""

    def __init__(self, *answers: dict[str, object]) -> None:
        self.seen: list[dict[str, Any]] = []
        self._answers = list(answers)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            self.seen.append(json.loads(line))
            if self._answers:
                writer.write(json.dumps(self._answers.pop(0)).encode() + b"\n")
        writer.close()


async def kinds(path: Path, *answers: dict[str, object]) -> list[str]:
    """The types of the messages in which five tables go, if steering answers like that."""
    fake = Fake(*answers)
    server = await asyncio.start_unix_server(fake.serve, path)
    async with server, linked(path) as link:
        table_ = table(0)
        for revision in range(1, 6):
            before = len(fake.seen)
            link.publish(replace(table_, revision=revision))
            await until(lambda before=before: len(fake.seen) > before)  # type: ignore[misc]
            await asyncio.sleep(0.02)  # the answer is read, and acted upon
    return [message["type"] for message in fake.seen]


APPLIED: dict[str, object] = {"type": "applied", "revision": 1, "failed": {}}


async def test_only_changes_are_sent_to_who_takes_them(tmp_path: Path) -> None:
    new = APPLIED | {"deltas": True}
    refused: dict[str, object] = {"type": "refused", "revision": None, "reason": "?"}
    path = tmp_path / "socket"
    assert await kinds(path, *[new] * 5) == ["table", *["delta"] * 4]
    # An older steering, and one that has not answered yet.
    assert await kinds(path, *[APPLIED] * 5) == ["table"] * 5
    assert await kinds(path) == ["table"] * 5
    # One that lacks the table before gets the same again, whole.
    lacking = await kinds(path, new, {"type": "whole"}, new)
    assert lacking == ["table", "delta", "table", "delta", "delta", "delta"]
    # What it has refused is nothing to start from.
    assert await kinds(path, new, refused, new) == ["table", "delta", "table", "delta", "delta"]


async def test_a_fault_in_sending_is_loud_and_not_a_link_that_sends_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def faulty(before: object, after: object) -> object:
        raise RuntimeError("a bug")

    monkeypatch.setattr("edgenode.steering.link.diff", faulty)
    server = await asyncio.start_unix_server(
        Fake(APPLIED | {"deltas": True}).serve, tmp_path / "socket"
    )
    link = SteeringLink(tmp_path / "socket")
    async with server:
        task = asyncio.create_task(link.run())
        link.publish(table(1))
        await until(lambda: link.applied == 1)
        link.publish(table(2))
        await asyncio.wait([task], timeout=2)
        assert task.done()
        assert str(task.exception()) == "a bug"


async def test_failures_are_told(tmp_path: Path) -> None:
    told: list[Sequence[str]] = []
    message: dict[str, object] = {"type": "failures", "targets": ["fra/fra-1", 7]}
    server = await asyncio.start_unix_server(Fake(message).serve, tmp_path / "socket")
    async with server, linked(tmp_path / "socket") as link:
        link.on_failures = told.append
        link.publish(table(1))
        await until(lambda: told)
    assert told == [["fra/fra-1"]]


async def test_what_is_not_understood_is_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Steering may be of another version than control."""
    junk = [
        b"{}",
        b"[]",
        b"1",
        b"nonsense",
        b"[" * 100_000,
        b'{"type": "report"}',
        b'{"type": "news"}',
        b'{"type": "applied"}',
        b'{"type": "refused", "revision": 1}',
    ]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.writelines(line + b"\n" for line in (*junk, b'{"type": "applied", "revision": 1}'))

    server = await asyncio.start_unix_server(answer, tmp_path / "socket")
    async with server, linked(tmp_path / "socket") as link:
        link.publish(table(1))
        await until(lambda: link.applied == 1)
        assert link.connected
    assert caplog.text.count("not understood") == len(junk)
