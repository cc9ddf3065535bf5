"""Each group's decision: evidence, operators, the upstreams' patience, and what it all rests on.

The rules are pure and elsewhere (`bgp.policy`, `bgp.damping`, `control.intent`); here is what has
to be remembered from one decision to the next.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from edgenode.bgp.levels import Level
from edgenode.bgp.policy import Asked, Decision, Memory, decide, frozen, held
from edgenode.config import Config, Group
from edgenode.control.drains import Drains
from edgenode.control.index import Index
from edgenode.control.intent import Drain, asked, words
from edgenode.control.ledger import Ledger
from edgenode.control.neighbors import Proof
from edgenode.control.view import GroupFacts
from edgenode.control.wishes import Wishes
from edgenode.health.risefall import State
from edgenode.state import Penalties

NOTHING = Asked()
"""What is asked of a group of which no operator wants anything."""


class Decider:
    """Asked for decisions, and told of the levels that came of them."""

    def __init__(
        self,
        config: Config,
        wishes: Wishes,
        penalties: Penalties | None,
        note: Callable[[str, str, str], None],
    ) -> None:
        self.ledger = Ledger(config.groups, penalties)
        self.drains = Drains(config)
        self._wishes = wishes
        self._note = note
        self._memories: dict[str, Memory] = {}
        self._last: dict[str, tuple[object, Decision]] = {}
        self._waiting: set[str] = set()
        self._since: dict[str, float] = {}
        self._held = False
        self._let_go: set[str] = set()
        """Groups that went with the lifeline's device."""
        self.change(config)

    def change(self, config: Config) -> None:
        """Decide by another configuration; the memory of groups whose rules stay is kept."""
        before = getattr(self, "_groups", {})
        self._groups = {group.name: group for group in config.groups}
        for name, group in before.items():
            if self._groups.get(name) != group:
                self._memories.pop(name, None)
        self._last.clear()
        self.index = Index.of(config)
        self.ledger.change(config.groups)
        self.drains.change(config)
        self._drain_time = config.bgp.drain_time

    def decision(
        self,
        group: Group,
        states: Mapping[str, State],
        reachable: Callable[[str], bool | None],
        previous: Level,
    ) -> Decision:
        """A group's decision now; `previous` is the level in force."""
        name = group.name
        memory = self._memories.get(name, ())
        want = NOTHING
        if intents := self._wishes.of(name):
            drain = Drain(self._drain_time, self.drains.idle(name, time.monotonic()))
            want = asked(intents, time.time(), drain, previous)
        services = {each: reachable(each) for each in self.index.services[name]}
        decision = self._decide(group, states, services, previous, want, memory)
        if pause := self._wishes.paused:
            return frozen(decision, want, previous, words(pause))
        wait = self.ledger.wait(name, previous, decision.level)
        if wait.seconds > 0:
            decision = held(decision, previous, wait)
        self._tell_of_waiting(name, decision)
        return decision

    def _decide(
        self,
        group: Group,
        states: Mapping[str, State],
        services: Mapping[str, bool | None],
        previous: Level,
        want: Asked,
        memory: Memory,
    ) -> Decision:
        """By the rules; from the same evidence as the last time the same decision, which costs a
        node of many groups little: all are asked for each second."""
        name = group.name
        seen = tuple(map(states.get, self.index.checks[name]))
        evidence = (seen, tuple(services.values()), previous, want, memory)
        known = self._last.get(name)
        if known is None or known[0] != evidence:
            fresh = decide(
                group,
                states,
                services,
                previous=previous,
                asked=want,
                memory=memory,
                rules=self.index.rules[name],
            )
            known = self._last[name] = (evidence, fresh)
        self._memories[name] = known[1].memory
        return known[1]

    def start(self, found: Mapping[str, Level], held: bool) -> None:
        """What was taken over, and whether the lifeline held its device then."""
        self._held = held
        how = "BIRD announces it no more" if held else "the lifeline's device is gone"
        for name, level in self.ledger.start(found).items():
            text = f"{Level.WITHDRAWN}: while control was away, and {level} before that: {how}"
            self._note("group", name, text)

    def moved(self, before: Mapping[str, Level], after: Mapping[str, Level]) -> None:
        """Groups were given other levels."""
        for name, level in after.items():
            self.ledger.announced(name, self._on_the_wire(name, level))
            if level is not before[name]:
                self._since[name] = time.time()
            if level is not Level.DRAINED:
                self.drains.over(name)

    def proven(self, name: str, proof: Proof) -> None:
        """What the neighbors were sent was looked at."""
        # That they were sent a degraded route says nothing about a drain that comes later.
        if proof.whole and proof.level is Level.DRAINED:
            self.drains.proven(name, time.monotonic())

    def lifeline(self, held: bool, levels: Mapping[str, Level]) -> None:
        """Whether the device is there that the announcements hang on: with it they come and go,
        whatever was decided, and upstreams count that like any other change."""
        if held is self._held:
            return
        before = {name: self._on_the_wire(name, level) for name, level in levels.items()}
        self._held = held
        for name, level in levels.items():
            after = self._on_the_wire(name, level)
            self.ledger.announced(name, after)
            if not held and after is not before[name]:
                self._let_go.add(name)
                self._note("group", name, f"{after}: the lifeline's device is gone")
            elif held and name in self._let_go and after is not before[name]:
                # What was decided in the meantime was noted then, if anything was.
                self._note("group", name, f"{after}: the lifeline's device is there again")
        if held:
            self._let_go.clear()

    def _on_the_wire(self, name: str, level: Level) -> Level:
        kept = self._held or self._groups[name].on_control_loss == "keep"
        return level if kept else Level.WITHDRAWN

    def facts(self, name: str, proof: Proof | None) -> GroupFacts:
        """For people."""
        return GroupFacts(
            since=self._since.get(name),
            penalty=self.ledger.status(name),
            drain=self.drains.progress(name, time.monotonic()),
            proof=proof,
        )

    def _tell_of_waiting(self, name: str, decision: Decision) -> None:
        if decision.wait and name not in self._waiting:
            self._waiting.add(name)
            self._note("waiting", name, decision.reasons[0])
        elif not decision.wait:
            self._waiting.discard(name)
