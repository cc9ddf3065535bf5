"""What holds for all tests."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from edgenode.steering import FORM

LONGEST = (
    "system/test_playbook.py",
    "lab/control/test_apply.py",
    "lab/control/test_failsafe.py",
    "lab/control/test_operating.py",
    "lab/scenes/test_variants.py",
    "lab/control/test_node.py",
    "lab/scenes/test_demo.py",
    "system/test_units.py",
    "system/test_firewall.py",
    "lab/siblings/test_siblings.py",
    "lab/mesh/test_paths.py",
    "lab/registry/test_workers.py",
    "lab/lab/test_edges.py",
    "lab/mesh/test_changes.py",
)
"""Files of half a minute and more, the longest first: parallel workers begin with them, and none is
left alone with one at the end."""

UNTIMED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""How long an example takes says more of a busy machine than of us."""

settings.register_profile("all", UNTIMED)
settings.register_profile("few", UNTIMED, max_examples=20)
settings.load_profile("all")  # `--hypothesis-profile` comes after this


def pytest_configure() -> None:
    """A shell ignores SIGINT in what it starts in the background, and children inherit that: the
    tests would interrupt processes that cannot be interrupted."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    _end_in_order()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes() -> None:
    _distributes.append(True)


def pytest_runtest_setup() -> None:
    _end_in_order()  # asyncio leaves the default behind, where a test took the signal


@pytest.hookimpl(tryfirst=True)
def pytest_keyboard_interrupt() -> None:
    """Fixtures are torn down now, and no signal that comes later ends that in the middle.

    The workers of pytest-xdist are told at once: they have only as long for it as the first process
    waits for them. That one runs no tests, and has no other children.
    """
    signal.signal(signal.SIGTERM, _ignore)
    if "PYTEST_XDIST_WORKER" in os.environ:
        signal.signal(signal.SIGINT, _ignore)
    elif _distributes:
        for children in Path("/proc/self/task").glob("*/children"):
            for pid in children.read_text().split():
                os.kill(int(pid), signal.SIGTERM)


_first = os.getpid()
_distributes: list[bool] = []


def _end_in_order() -> None:
    """SIGTERM is as good as SIGINT: what the fixtures made does not outlive the tests."""
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _on_term)


def _on_term(_number: int, _frame: object) -> None:
    if os.getpid() == _first:
        signal.signal(signal.SIGTERM, _ignore)  # once is enough
        signal.raise_signal(signal.SIGINT)
    else:  # a test has forked
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.raise_signal(signal.SIGTERM)


def _ignore(_number: int, _frame: object) -> None:
    """Not SIG_IGN, which children inherit."""


def pytest_report_header() -> str:
    return f"edgenode steering: {FORM}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The order of files; that of the tests in a file is theirs."""
    here = Path(__file__).parent
    rank = {here / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path, len(rank)))
