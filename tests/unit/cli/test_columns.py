"""Names, endpoints and figures are whole in each table, in a pipe and on 80 columns."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text

from edgenode.cli.columns import Column, Rows
from tests.unit.cli import fakes
from tests.unit.cli.test_acting import config as config
from tests.unit.cli.test_command import edgenode
from tests.unit.cli.test_meshtable import mesh, path, peer
from tests.unit.cli.test_regions import region, target
from tests.unit.cli.test_trace import answer as traced
from tests.unit.cli.test_trace import region as candidate
from tests.unit.cli.test_trace import worker

WHY = "no answer of 198.51.100.201:8080 within 1 s, four times in a row; its region is not the one"


def of(width: int | None, why: str = WHY) -> list[str]:
    rows = Rows("NAME", Column("LIVE", 1), Column("RX / TX", 2), "ENDPOINT", why="WHY")
    rows.add("fra-1", "3", "1.4 MiB / 999 B", Text("198.51.100.11:51820"), why=why)
    rows.add("iad-2", "-", "0 B / 0 B", "-")
    return [line.plain for line in rows.lines(width)]


def test_in_a_pipe_a_row_is_a_line() -> None:
    assert of(None) == [
        "NAME   LIVE  RX / TX          ENDPOINT             WHY",
        f"fra-1  3     1.4 MiB / 999 B  198.51.100.11:51820  {WHY}",
        "iad-2  -     0 B / 0 B        -",
    ]
    assert len(of(None, "two\nlines")) == 3


def test_a_reason_that_does_not_fit_goes_below_its_row() -> None:
    assert of(80) == [
        "NAME   LIVE  RX / TX          ENDPOINT",
        "fra-1  3     1.4 MiB / 999 B  198.51.100.11:51820",
        "    no answer of 198.51.100.201:8080 within 1 s, four times in a row; its region",
        "    is not the one",
        "iad-2  -     0 B / 0 B        -",
    ]
    assert of(80, "it drains")[1].endswith("198.51.100.11:51820  it drains")


@pytest.mark.parametrize(
    ("width", "heads"),
    [
        (49, ["NAME", "LIVE", "RX", "/", "TX", "ENDPOINT"]),
        (48, ["NAME", "LIVE", "ENDPOINT"]),
        (31, ["NAME", "ENDPOINT"]),
        (5, ["NAME", "ENDPOINT"]),
    ],
)
def test_the_least_important_columns_go_first(width: int, heads: list[str]) -> None:
    lines = of(width, "")
    assert lines[0].split() == heads
    assert "198.51.100.11:51820" in lines[1]


@given(st.integers(1, 200), st.lists(st.text("ab.:- 1", max_size=40), max_size=5))
def test_nothing_that_stays_is_torn_apart(width: int, reasons: list[str]) -> None:
    rows = Rows("NAME", Column("LIVE", 1), why="WHY")
    for number, why in enumerate(reasons):
        rows.add(f"a-long-name-{number}", "12", why=why)
    shown = [line.plain for line in rows.lines(width)]
    words = [word for line in shown for word in line.split()]
    assert all(f"a-long-name-{number}" in words for number in range(len(reasons)))
    assert all(word in words for why in reasons for word in why.split())
    assert all(
        len(line) <= max(width, 19) or len(line.split()) == 1 for line in shown if width > 23
    )


def on_terminal(columns: int, *arguments: str) -> list[str]:
    """What a command prints on a terminal that is so wide."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    env = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    command = [sys.executable, "-m", "edgenode.cli", *arguments]
    shown = b""
    with subprocess.Popen(
        command, stdin=its, stdout=its, env={**env, "TERM": "xterm", "NO_COLOR": "1"}
    ) as process:
        os.close(its)
        with contextlib.suppress(OSError):  # EIO: all is read
            while piece := os.read(ours, 4096):
                shown += piece
    os.close(ours)
    assert process.returncode == 0
    plain = Text.from_ansi(shown.decode().replace("\r", "")).plain
    return plain.splitlines()


FAR = "fra-with-a-long-name"
STATUS = fakes.status(
    mesh=mesh(peer(FAR, endpoint="[2001:db8:1:2::41]:51820"), peer("iad")),
    paths=[path(FAR), path("iad")],
    regions=[
        region("fra", 8.13, {"fra-1:8080": target(hard_limit=20)}, soft_limit=50),
        region("iad", None, {"iad-1:8080": target("down", WHY)}),
    ],
)
TRACE = traced(
    regions=[candidate("fra", 1, worker("fra-1", 1.0, why=WHY), chosen=True, why=WHY)],
)


@pytest.mark.parametrize(
    ("command", "answer", "whole", "narrow"),
    [
        (["mesh"], STATUS, [FAR, "ROUND-TRIP", "[2001:db8:1:2::41]:51820", "8.1 ms"], "RX / TX"),
        (["regions", "--workers"], STATUS, ["ROUND-TRIP", "iad-1:8080", "198.51.100.201:8080"], ""),
        (["trace", "198.51.100.7"], TRACE, ["fra/fra-1:8080", "198.51.100.201:8080"], ""),
    ],
)
def test_the_commands(
    config: Path,
    tmp_path: Path,
    command: list[str],
    answer: dict[str, Any],
    whole: list[str],
    narrow: str,
) -> None:
    arguments = [*command, "--config", str(config)]
    with fakes.control(tmp_path / "run" / "control" / "control.sock", lambda _: answer):
        on_80 = on_terminal(80, *arguments)
        piped = edgenode(*arguments, columns="").stdout.splitlines()
    for word in whole:
        assert any(word in line for line in on_80)
        assert any(word in line for line in piped)
    assert all(len(line) <= 80 for line in on_80 if not line.startswith("lon1: "))
    if narrow:
        assert any(narrow in line for line in piped)
        assert not any(narrow in line for line in on_80)
    else:
        assert any(line.endswith(WHY) for line in piped), "a row is a line, reason and all"
