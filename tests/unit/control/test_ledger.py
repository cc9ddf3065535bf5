"""The account of our changes: over restarts, reboots, and clocks that are stepped."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenode.bgp.levels import Level
from edgenode.config import Group
from edgenode.control.ledger import Ledger, history
from edgenode.state.penalties import Moment, Penalties, Row, age, present_moment

NORMAL, WITHDRAWN = Level.NORMAL, Level.WITHDRAWN
WEB = Group.model_validate({"name": "web", "prefixes": ["203.0.113.0/24"], "hold_down": "60s"})
HOUR = 3600.0


async def saved(ledger: Ledger) -> None:
    task = asyncio.create_task(ledger.run())
    await asyncio.sleep(0.3)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def flap(ledger: Ledger, times: int) -> None:
    for _ in range(times):
        ledger.announced("web", NORMAL)
        ledger.announced("web", WITHDRAWN)
        ledger.announced("web", NORMAL)


async def test_a_penalty_outlasts_its_process(tmp_path: Path) -> None:
    first = Ledger([WEB], Penalties(tmp_path))
    flap(first, 2)
    await saved(first)
    second = Ledger([WEB], Penalties(tmp_path))
    assert second.status("web")["value"] == pytest.approx(first.status("web")["value"], abs=5)
    # Whoever killed control, the lifeline has withdrawn since: that counts, too.
    second.start({})
    assert second.status("web")["value"] == pytest.approx(5000, abs=10)
    assert second.wait("web", WITHDRAWN, NORMAL).seconds > 500
    second.start({})
    assert second.status("web")["value"] == pytest.approx(5000, abs=10), "only once"


async def test_what_was_taken_over_costs_nothing(tmp_path: Path) -> None:
    first = Ledger([WEB], Penalties(tmp_path))
    first.announced("web", NORMAL)
    await saved(first)
    second = Ledger([WEB], Penalties(tmp_path))
    second.start({"web": NORMAL})
    assert second.status("web")["value"] == 0


def test_hold_down_and_an_operator_who_does_not_wait() -> None:
    ledger = Ledger([WEB], None)
    assert ledger.wait("web", WITHDRAWN, NORMAL).seconds == 0, "it was never withdrawn"
    ledger.announced("web", NORMAL)
    ledger.announced("web", WITHDRAWN)
    held = ledger.wait("web", WITHDRAWN, NORMAL)
    assert held.seconds == pytest.approx(60, abs=1)
    assert "hold_down" in held.reason
    ledger.waive(["web"])
    assert ledger.wait("web", WITHDRAWN, NORMAL).seconds == 0
    ledger.announced("web", NORMAL)
    ledger.announced("web", WITHDRAWN)
    assert ledger.wait("web", WITHDRAWN, NORMAL).seconds > 50, "only the next time"


async def test_a_disk_that_refuses_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgenode.control.ledger.AGAIN", 0.05)
    blocked = tmp_path / "state"
    blocked.write_text("no directory")
    ledger = Ledger([WEB], Penalties(blocked))
    flap(ledger, 1)
    task = asyncio.create_task(ledger.run())
    await asyncio.sleep(0.2)
    blocked.unlink()
    await asyncio.sleep(0.5)
    task.cancel()
    assert "web" in Penalties(blocked).all()


async def test_a_group_that_is_long_gone_is_forgotten(tmp_path: Path) -> None:
    now = present_moment()
    old = Moment(now.monotonic + HOUR, now.wall - 30 * HOUR)  # of another boot
    store = Penalties(tmp_path)
    kept = [replace(row(), group="new"), replace(row(old), group="web")]
    assert store.put([*kept, replace(row(old), group="old")])
    await saved(Ledger([WEB], store))
    assert sorted(store.all()) == ["new", "web"], "what is configured, and what left just now"


def test_a_damaged_table_is_no_reason_not_to_start(tmp_path: Path) -> None:
    path = tmp_path / "damping.sqlite"
    path.write_bytes(b"no database" * 1000)
    assert Penalties(tmp_path).all() == {}
    assert Penalties(tmp_path).put([row()])
    assert list(Penalties(tmp_path).all()) == ["web"]
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE penalties SET level = 'levitating'")
    Ledger([WEB], Penalties(tmp_path)).start({})


def row(at: Moment | None = None) -> Row:
    return Row("web", 4000.0, 10.0, "normal", at or present_moment())


@given(st.floats(0, 1e6), st.floats(0, 1e5), st.floats(-1e5, 1e5))
def test_a_stepped_clock_ages_nothing_within_a_boot(
    monotonic: float, later: float, step: float
) -> None:
    then = Moment(monotonic, 1e9)
    now = Moment(monotonic + later, 1e9 + later + step)
    assert age(then, now) == pytest.approx(later, abs=1e-6)


@given(st.floats(0, 1e6), st.floats(0, 1e6), st.floats(0, 1e6), st.floats(-1e6, 1e6))
def test_over_a_reboot_a_penalty_is_never_older_than_the_clocks_say(
    before: float, off: float, uptime: float, step: float
) -> None:
    """A step forward over a reboot is believed, for nothing contradicts it; one back is not."""
    then, now = Moment(before, 1e9), Moment(uptime, 1e9 + off + uptime + step)
    found = age(then, now)
    assert 0 <= found <= off + uptime + max(0.0, step) + 1e-5
    if uptime < before:
        assert found >= uptime


def test_a_clock_set_back_an_hour_over_a_reboot_keeps_a_wait_bounded() -> None:
    """A step makes the penalty look younger, not older than it was; the wait is the same."""
    saved_at = Moment(5000.0, 1e9)
    back = history(row(saved_at), Moment(30.0, 1e9 - HOUR))
    assert back.penalty == 4000.0
    assert back.at == 0.0, "as old as this boot"
    forward = history(row(saved_at), Moment(30.0, 1e9 + HOUR))
    assert 30.0 - forward.at == HOUR
    assert forward.withdrawn_at == forward.at - 10.0
