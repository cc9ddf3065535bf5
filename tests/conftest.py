"""What holds for all tests."""

from __future__ import annotations

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


def pytest_report_header() -> str:
    return f"edgenode steering: {FORM}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The order of files; that of the tests in a file is theirs."""
    here = Path(__file__).parent
    rank = {here / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path, len(rank)))
