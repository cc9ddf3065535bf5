"""`vagrant up` of our own box: a session, a steered request, a drain. Run by `./run test-vagrant`;
the tests are in the order of a lab's life.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from tests.vagrant.lab import EDGE, ROUTER, Lab, changes, running

pytestmark = [pytest.mark.timeout(3600), pytest.mark.slow]

Say = Callable[[str], None]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with running(tmp_path_factory.mktemp("vagrant")) as found:
        yield found


@pytest.fixture
def say(capfd: pytest.CaptureFixture[str]) -> Say:
    """Past what pytest captures: figures are part of the result."""

    def speak(text: str) -> None:
        with capfd.disabled():
            print(f"\n  {text}", flush=True)

    return speak


def test_vagrant_brings_both_up_and_provisions_them(lab: Lab, say: Say) -> None:
    started = time.monotonic()
    said = lab.up()
    assert set(changes(said)) == {EDGE, ROUTER}, said
    say(f"two machines up with the playbook: {time.monotonic() - started:.0f} s, {changes(said)}")


def test_the_router_has_a_session_with_the_edge(lab: Lab, say: Say) -> None:
    protocols = f"birdc show protocols {EDGE}"
    took = lab.until(lambda: "Established" in lab.run(ROUTER, protocols), "a session")
    say(f"session: {took:.0f} s after `up`")
    say(f"announced: {lab.until(lab.announced, 'the prefix is announced'):.0f} s after that")


def test_a_user_is_steered_to_the_region_through_the_edge(lab: Lab) -> None:
    lab.until(lambda: lab.get() == f"hello from fra, through {EDGE}\n", "a steered request")
    assert "wireguard" in lab.run(EDGE, "ip -d link show wg0")


def test_a_second_run_of_the_playbook_changes_nothing(lab: Lab, say: Say) -> None:
    started = time.monotonic()
    assert changes(lab.vagrant("provision", timeout=1800.0)) == {EDGE: 0, ROUTER: 0}
    say(f"the playbook again: {time.monotonic() - started:.0f} s")
    assert lab.announced()


def test_a_drain_ends_in_a_withdraw_at_the_router(lab: Lab, say: Say) -> None:
    lab.run(EDGE, "edgenode drain web --reason trial")
    gone = lab.until(
        lambda: "Network not found" in lab.run(ROUTER, "birdc show route for 203.0.113.1"),
        "the prefix is withdrawn",
    )
    say(f"drain to withdrawn at the router: {gone:.0f} s")
    assert lab.get() == "", "nobody else announces it"
    lab.run(EDGE, "edgenode undrain web")
    say(f"undrain to announced: {lab.until(lab.announced, 'the prefix is announced again'):.0f} s")
    lab.until(lambda: lab.get() == f"hello from fra, through {EDGE}\n", "a steered request")
