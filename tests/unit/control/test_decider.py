"""Decisions with what has to be remembered between them: rules, waits, pauses, the lifeline."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from edgenode.bgp.levels import Level
from edgenode.config import Config
from edgenode.control.decider import Decider
from edgenode.control.neighbors import Proof
from edgenode.control.wishes import Wishes
from edgenode.health.risefall import State
from edgenode.state import NODE, Intent, IntentKind, Intents, Penalties
from edgenode.state.penalties import Row, present_moment
from edgenode.steering.report import Report, ServiceReport

UP, DOWN, UNKNOWN = State.UP, State.DOWN, State.UNKNOWN
NORMAL, DEGRADED, WITHDRAWN = Level.NORMAL, Level.DEGRADED, Level.WITHDRAWN
PARTS = ("a", "b", "c", "d")


def configuration(**changes: Any) -> Config:
    rule = {"checks": PARTS, "need": "quorum", "low": 0.5, "high": 0.75, "level": "degraded"}
    group = {"name": "web", "prefixes": ["203.0.113.0/24"], "checks": ["proxy"], "rules": [rule]}
    checks = [{"name": n, "type": "tcp", "target": "192.0.2.1:80"} for n in ("proxy", *PARTS)]
    neighbor = {"name": "transit", "address": "198.51.100.3", "asn": 64601}
    bgp = {"asn": 64700, "router_id": "198.51.100.1", "neighbors": [neighbor]}
    raw = {"node": {"name": "x"}, "bgp": bgp, "groups": [group | changes], "checks": checks}
    return Config.model_validate(raw)


class World:
    """One group, its decisions carried out at once."""

    def __init__(self, path: Path, config: Config) -> None:
        self.wishes = Wishes(Intents(path))
        self.notes: list[str] = []
        self.decider = Decider(
            config, self.wishes, None, lambda kind, name, text: self.notes.append(f"{kind}: {text}")
        )
        self.decider.start({}, held=True)
        self.group = config.groups[0]
        self.level = WITHDRAWN
        self.states = dict.fromkeys(("proxy", *PARTS), UP)

    def decide(self, **states: State) -> Level:
        self.states |= states
        decision = self.decider.decision(self.group, self.states, lambda _: True, self.level)
        self.decider.moved({"web": self.level}, {"web": decision.level})
        self.level, self.reasons = decision.level, decision.reasons
        return self.level

    @property
    def penalty(self) -> float:
        return float(self.decider.facts("web", None).penalty["value"])


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, configuration())


def test_a_quorum_is_remembered_from_decision_to_decision(world: World) -> None:
    assert world.decide() is NORMAL
    assert world.decide(a=DOWN, b=DOWN) is NORMAL
    assert world.decide(c=DOWN) is DEGRADED
    assert world.decide(c=UP) is DEGRADED
    assert world.decide(b=UP) is NORMAL
    assert world.decide(proxy=DOWN, a=DOWN, b=DOWN, c=DOWN) is WITHDRAWN


def test_another_configuration_of_the_group_begins_anew(world: World) -> None:
    world.decide()
    world.decide(a=DOWN, b=DOWN, c=DOWN)
    config = configuration(hold_down="1s")
    world.decider.change(config)
    world.group = config.groups[0]
    assert world.decide(c=UP) is DEGRADED, "from the level in force, it goes on where it was"
    world.decider.change(configuration(rules=[]))
    world.group = configuration(rules=[]).groups[0]
    assert world.decide() is NORMAL


def test_what_waits_is_told_once_and_a_withdraw_never_waits(world: World) -> None:
    world.decide()
    for _ in range(2):
        assert world.decide(proxy=DOWN) is WITHDRAWN
        assert world.decide(proxy=UP) is NORMAL
    assert world.decide(proxy=DOWN) is WITHDRAWN
    for _ in range(3):
        assert world.decide(proxy=UP) is WITHDRAWN
    assert [note.partition(" ")[0] for note in world.notes] == ["waiting:"]
    assert "damping: penalty 5000 of 6000" in world.reasons[0]
    world.decider.ledger.waive(["web"])
    assert world.decide() is NORMAL


async def test_a_pause_holds_and_rules_go_on_being_judged(world: World) -> None:
    world.decide()
    pause = Intent(NODE, IntentKind.PAUSED, 1.0, "drill", author="ann")
    await world.wishes.save({pause.key: pause})
    assert world.decide(a=DOWN, b=DOWN, c=DOWN) is NORMAL
    assert world.decide(proxy=DOWN) is NORMAL
    assert world.reasons[0] == "held as it is: the node is paused by ann (drill)"
    assert world.reasons[1].startswith("else it would be withdrawn: check proxy is down")
    assert world.decide(proxy=UP, b=UP) is NORMAL
    await world.wishes.forget([pause.key])
    assert world.decide() is DEGRADED, "two of four, after only one was up"


def test_what_the_lifeline_takes_away_is_on_the_account(world: World) -> None:
    world.decide()
    assert world.penalty == 0
    world.decider.lifeline(False, {"web": NORMAL})
    assert world.penalty == pytest.approx(1000, abs=5)
    world.decider.lifeline(False, {"web": NORMAL})
    world.decider.lifeline(True, {"web": NORMAL})
    assert world.penalty == pytest.approx(2000, abs=5)
    assert world.notes == [
        "group: withdrawn: the lifeline's device is gone",
        "group: normal: the lifeline's device is there again",
    ]


def test_what_the_lifeline_took_while_control_was_away_is_noted(tmp_path: Path) -> None:
    penalties = Penalties(tmp_path)
    at = present_moment()
    assert penalties.put([Row("web", 0.0, None, "drained", at)])
    notes: list[str] = []
    wishes = Wishes(Intents(tmp_path))
    decider = Decider(configuration(), wishes, penalties, lambda *note: notes.append(note[2]))
    decider.start({}, held=False)
    why = "the lifeline's device is gone"
    assert notes == [f"withdrawn: while control was away, and drained before that: {why}"]
    decider.start({}, held=False)
    assert len(notes) == 1, "it is known now"


def test_a_group_that_is_kept_stands_without_the_lifeline(tmp_path: Path) -> None:
    world = World(tmp_path, configuration(on_control_loss="keep"))
    world.decide()
    world.decider.lifeline(False, {"web": NORMAL})
    world.decider.lifeline(True, {"web": NORMAL})
    assert (world.penalty, world.notes) == (0, [])


def test_without_a_device_nothing_is_announced_and_nothing_costs(tmp_path: Path) -> None:
    world = World(tmp_path, configuration())
    world.decider.lifeline(False, {"web": WITHDRAWN})
    for state in (UP, DOWN, UP, DOWN, UP):
        world.decide(proxy=state)
    assert world.penalty == 0


async def test_a_degraded_group_without_users_is_drained_before_it_is_withdrawn(
    tmp_path: Path,
) -> None:
    raw = configuration().model_dump(mode="json", exclude_unset=True)
    raw["bgp"]["drain_idle"] = "0s"
    service = {"name": "app", "group": "web", "listen": ["203.0.113.1:443"], "port": 80}
    raw["services"] = [service]
    raw["groups"][0]["addresses"] = ["203.0.113.1"]
    world = World(tmp_path, Config.model_validate(raw))
    idle = Report(at=0.0, services={"app": ServiceReport()})
    world.decide()
    assert world.decide(a=DOWN, b=DOWN, c=DOWN) is DEGRADED
    world.decider.drains.report(idle, time.monotonic())
    world.decider.proven("web", Proof(DEGRADED, 0.0, {}, ("transit",)))
    drain = Intent("web", IntentKind.DRAINED, time.time(), "")
    await world.wishes.save({drain.key: drain})
    assert world.decide() is Level.DRAINED
    assert world.decide() is Level.DRAINED, "nobody was seen to have been told"
    world.decider.proven("web", Proof(Level.DRAINED, 0.0, {}, ("transit",)))
    assert world.decide() is WITHDRAWN
