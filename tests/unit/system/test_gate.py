"""What is asked of a new version: what worked before, and nothing that is not its fault."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenode.system.gate import UNITS, Gate, Record, Seen, missing, working
from edgenode.system.look import active
from edgenode.system.record import LEAST, keep, kept

CARD = "52:54:00:00:00:01"
GROUP = {
    "name": "web",
    "level": "normal",
    "in_force": True,
    "reasons": ["all that is required is up"],
    "waits": None,
}
STATUS: dict[str, Any] = {
    "groups": [GROUP],
    "intents": [],
    "neighbors": [{"name": "transit", "state": "Established"}],
    "services": [],
}
WELL = Seen({unit: f"{unit} 1" for unit in UNITS}, (CARD,), STATUS)
BEFORE = working(WELL)


def seen(**changes: Any) -> Seen:
    """The node, with another status."""
    return replace(WELL, status=STATUS | changes)


def withdrawn(*reasons: str, **more: Any) -> list[Mapping[str, Any]]:
    return [GROUP | {"level": "withdrawn", "reasons": list(reasons)} | more]


def test_what_worked_is_recorded() -> None:
    assert Record(UNITS, (CARD,), ("web",), True) == BEFORE
    assert working(Seen({"ssh.service": "1"}, (), None)) == Record(("ssh.service",))
    drained = seen(groups=withdrawn("drained by ann"))
    assert working(drained).groups == ()


def test_all_as_before_is_well() -> None:
    assert missing(BEFORE, WELL) == []


@pytest.mark.parametrize(
    ("after", "said"),
    [
        (replace(WELL, units={"ssh.service": "1"}), "edgenode-control.service is not active"),
        (replace(WELL, cards=()), f"network card {CARD} is not there"),
        (replace(WELL, status=None), "control does not answer"),
        (seen(groups=withdrawn("check nginx is down")), "group web is withdrawn: check nginx"),
        (seen(groups=[GROUP | {"in_force": False}]), "group web is normal: BIRD has not done it"),
        (
            seen(
                groups=withdrawn("service web (my-node): no relay", "service web (region): dead"),
                services=[{"name": "web", "cause": "my-node"}],
            ),
            "service web",
        ),
        (
            # Its BGP sessions are up: the world is there, and its tunnels do not work.
            seen(
                groups=withdrawn("service web (my-tunnel): every handshake is stale"),
                services=[{"name": "web", "cause": "my-tunnel"}],
            ),
            "my-tunnel",
        ),
    ],
)
def test_a_fault_that_may_be_the_versions(after: Seen, said: str) -> None:
    assert said in "; ".join(missing(BEFORE, after))


@pytest.mark.parametrize(
    "after",
    [
        seen(neighbors=[{"name": "transit", "state": "Active"}]),
        seen(
            groups=withdrawn("service web (region): dead"),
            services=[{"name": "web", "cause": "region"}],
        ),
        seen(
            groups=withdrawn("service web (my-tunnel): every handshake is stale"),
            services=[{"name": "web", "cause": "my-tunnel"}],
            neighbors=[{"name": "transit", "state": "Connect"}],
        ),
        seen(groups=withdrawn("x"), intents=[{"group": "web", "kind": "withdrawn"}]),
        seen(groups=withdrawn("x"), intents=[{"group": "*", "kind": "maintenance"}]),
        seen(groups=withdrawn("waits", waits={"for": "normal", "s": 60.0})),
        seen(groups=[]),
        replace(WELL, cards=(CARD, "52:54:00:00:00:09")),
    ],
    ids=("session", "region", "cut off", "operator", "node", "damping", "configuration", "card"),
)
def test_what_the_world_or_an_operator_did_rolls_nothing_back(after: Seen) -> None:
    assert missing(BEFORE, after) == []


def test_it_has_to_stay_well() -> None:
    gate = Gate(BEFORE, 0.0, within=60.0, hold=10.0)
    assert gate.look(WELL, 1.0).stays is None
    assert gate.look(WELL, 10.9).stays is None
    assert gate.look(WELL, 11.0).stays is True


def test_a_moment_of_doubt_begins_the_time_anew() -> None:
    gate = Gate(BEFORE, 0.0, within=60.0, hold=10.0)
    gate.look(WELL, 1.0)
    assert gate.look(replace(WELL, status=None), 9.0).missing == ["control does not answer"]
    assert gate.look(WELL, 12.0).stays is None
    assert gate.look(WELL, 22.0).stays is True


def test_what_crashes_between_two_looks_is_not_well() -> None:
    gate = Gate(BEFORE, 0.0, within=30.0, hold=10.0)
    for number in range(60):
        units = dict(WELL.units) | {"edgenode-control.service": str(number // 3)}
        verdict = gate.look(replace(WELL, units=units), float(number))
        assert verdict.stays is not True
        if verdict.stays is False:
            break
    assert verdict.stays is False


def test_what_is_not_known_is_not_good_and_fails_in_the_end() -> None:
    gate = Gate(BEFORE, 0.0, within=60.0, hold=10.0)
    nothing = Seen({}, (CARD,), None)  # systemctl and control do not answer
    assert gate.look(nothing, 1.0).stays is None
    assert gate.look(nothing, 59.0).stays is None
    assert gate.look(nothing, 60.0).stays is False


def test_well_at_the_last_moment_is_still_given_its_time() -> None:
    gate = Gate(BEFORE, 0.0, within=60.0, hold=10.0)
    gate.look(WELL, 59.0)
    assert gate.look(WELL, 68.0).stays is None
    assert gate.look(WELL, 69.0).stays is True


@given(st.lists(st.tuples(st.booleans(), st.floats(0.1, 20)), max_size=60))
def test_no_version_stays_that_was_not_well_for_the_whole_time(
    looks: list[tuple[bool, float]],
) -> None:
    gate = Gate(BEFORE, 0.0, within=100.0, hold=30.0)
    now, since = 0.0, None
    for well, pause in looks:
        now += pause
        since = (now if since is None else since) if well else None
        verdict = gate.look(WELL if well else replace(WELL, status=None), now)
        if verdict.stays is not None:
            assert verdict.stays == (since is not None and now - since >= 30.0)
            assert verdict.stays or now >= 100.0
            break
        assert now < 130.0


def test_the_record_outlasts_the_reboot(tmp_path: Path) -> None:
    keep(tmp_path, BEFORE)
    assert kept(tmp_path) == BEFORE
    (tmp_path / "before.json").write_text('{"units": 5}')
    assert kept(tmp_path) == LEAST
    assert kept(tmp_path / "absent") == LEAST


def test_units_as_systemd_shows_them() -> None:
    shown = (
        "Id=ssh.service\nActiveState=active\nInvocationID=aa\nNRestarts=0\n\n"
        "Id=bird.service\nActiveState=activating\nInvocationID=bb\nNRestarts=7\n"
    )
    assert active(shown) == {"ssh.service": "aa 0"}
    assert active("Failed to connect to bus\n") == {}
