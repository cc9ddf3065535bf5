"""The node's brain: observations in, decisions, BIRD and steering told.

Everything runs in one event loop, and a verdict of a check reaches BIRD within the event that
brought it. What may block (netlink, SQLite, the mesh, the log) is done in threads, off that path.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from edgenode.api.requests import Request
from edgenode.bgp.announcer import Announcer
from edgenode.bgp.lastsite import Judgement
from edgenode.bgp.levels import Level
from edgenode.bgp.policy import Decision
from edgenode.config import Config, Group
from edgenode.control import view
from edgenode.control.binding import binding
from edgenode.control.birdwatch import BirdWatch
from edgenode.control.commands import Commands
from edgenode.control.evidence import Evidence
from edgenode.control.explain import explanation
from edgenode.control.heart import Round, at_work, may_beat, unseen
from edgenode.control.mesh import MeshKeeper
from edgenode.control.neighbors import Proof, Proofs, look, others
from edgenode.control.orders import Orders
from edgenode.control.parts import Parts, again_and_again
from edgenode.control.paths import PathKeeper
from edgenode.control.registry import RegistryKeeper
from edgenode.control.relays import Relays
from edgenode.control.starting import take_over
from edgenode.control.tracing import trace
from edgenode.health.risefall import State, Verdict
from edgenode.regions import Regions
from edgenode.regions.registry import from_config
from edgenode.steering.report import Report
from edgenode.steering.table import Table


class Control:
    """One per configuration. `run()` until cancelled, beside the parts' own `run`."""

    def __init__(
        self,
        config: Config,
        parts: Parts,
        *,
        announcer: Announcer,
        before: Control | None = None,
        last_table: Table | None = None,
    ) -> None:
        """`announcer`: one of this configuration, on the parts' connection to BIRD.

        `before`: the one of the configuration before, of which all that is known goes on. It is
        over for that one from this moment: it decides nothing any more, and its `run` is to be
        cancelled before this one's begins.
        """
        self.config = config
        self.configuration: Callable[[], Mapping[str, Any]] = dict
        """Which configuration is in force, for `status`."""
        self._parts = parts
        self._wishes = parts.wishes
        self._journal = parts.journal
        self._note = parts.note
        self._decider = parts.decider
        self._checker = parts.checker
        self._hooks = parts.hooks
        self._lifeline = parts.lifeline
        self._steering = parts.steering
        self._looker = parts.looker
        self._groups = {group.name: group for group in config.groups}
        waiting = Decision(Level.WITHDRAWN, ("waiting for the lifeline and BIRD",))
        self._decisions = dict.fromkeys(self._groups, waiting)
        self._settled = False
        self._after: Control | None = None
        self._started_at = time.monotonic()
        self._beat_refused: str | None = None
        self._round_at: float | None = None
        self._unseen: frozenset[str] = frozenset()
        self._announcer = announcer
        self._orders = Orders(self._announcer, dict.fromkeys(self._groups, Level.WITHDRAWN))
        self._bird: BirdWatch = BirdWatch(
            announcer, self._orders, self._note, config.node.name, before._bird if before else None
        )
        self._proofs = Proofs(self._looker, self._on_proof)
        self._commands = Commands(
            parts.wishes,
            lambda: self._orders.levels,
            self._others,
            self._give,
            lambda: self._decide(self.config.groups),
            self._degrade_towards,
            self._decider.ledger.waive,
            self._note,
        )
        self._mesh: MeshKeeper = MeshKeeper(config, self._note, before._mesh if before else None)
        self._paths: PathKeeper = PathKeeper(
            config, self._mesh, lambda: self._regions, self._note, before._paths if before else None
        )
        self._relays: Relays = before._relays if before else Relays()
        self._registry: RegistryKeeper = RegistryKeeper(
            config, self._note, before._registry if before else None
        )
        self._regions: Regions = Regions(
            self._registry.merged,
            binding(config),
            self._publish,
            self._on_reachability,
            last=last_table,
            complete=self._registry.complete,
            before=before._regions if before else None,
            path_problem=self._paths.problem,
        )
        self._evidence: Evidence = Evidence(
            config,
            self._regions,
            self._mesh,
            self._relays,
            self._note,
            self._on_news,
            path_problem=self._paths.problem,
            revision=self._registry.revision,
            before=before._evidence if before else None,
        )
        if before is not None:
            self._succeed(before)
        parts.change(config)
        self._checker.on_verdict = self._on_verdict
        self._checker.on_warning = lambda check, text: self._note("check", check, text)
        self._lifeline.on_state = self._on_lifeline
        self._steering.on_report = self._on_report
        self._steering.on_connected = self._on_steering
        self._steering.on_failures = self._regions.suspect
        if before is not None:
            before._after = self

    def _succeed(self, before: Control) -> None:
        """Nothing waits in here: no verdict and no command comes between the two."""
        gone = {name: Level.WITHDRAWN for name in before._groups if name not in self._groups}
        if gone and before._settled:
            # On BIRD's socket it is ahead of the `configure` that will forget these groups.
            reason = Decision(Level.WITHDRAWN, ("it is in the configuration no more",))
            before._decisions |= dict.fromkeys(gone, reason)
            before._give(gone)
        self._orders.succeed(before._orders)
        self._proofs.take_over(before._proofs)
        self._settled = before._settled
        self._beat_refused, self._round_at = before._beat_refused, before._round_at
        self._decisions |= {n: d for n, d in before._decisions.items() if n in self._groups}

    async def run(self) -> None:
        """Everything at once, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for name, part in {
                "announcer": self._announcer.run,
                "mesh": self._mesh.run,
                "paths": self._paths.run,
                "regions": self._regions.run,
                "registry": lambda: self._registry.run(self._on_workers),
                "siblings": self._evidence.run,
                "bird": self._bird.run,
                "wishes": self._commands.watch,
                "proofs": lambda: self._proofs.run(lambda: self.config),
            }.items():
                tasks.create_task(again_and_again(name, part), name=name)
            # Take over what is announced, or begin from nothing; only then decide and beat.
            if not self._settled:
                await self._start()
            tasks.create_task(again_and_again("heart", self._beat), name="heart")

    async def _start(self) -> None:
        """What stands is taken over, and all else withdrawn."""
        await self._commands.begin()  # a node that boots in maintenance announces nothing first
        kept = await take_over(
            self._groups, self._parts, self._announcer, self._orders, self._proofs
        )
        if kept:
            taken = ", ".join(f"{name} {level}" for name, level in kept.items())
            self._note("control", self.config.node.name, f"takes over: {taken}")
        self._settled = True
        gone = {name: Level.WITHDRAWN for name in self._groups if name not in kept}
        if gone:
            self._orders.give(gone)
        self._decide(self.config.groups)

    # -- observations -----------------------------------------------------------------------

    def _on_verdict(self, verdict: Verdict) -> None:
        self._decide(self._decider.index.dependents.get(verdict.check, ()))
        self._note("check", verdict.check, f"{verdict.state}: {verdict.reason}")
        self._hooks.tell("check", verdict.check, verdict.state, verdict.reason)

    def _on_reachability(self, service: str, reachable: bool | None) -> None:
        self._evidence.heed(service, reachable)
        self._evidence.siblings.tell_soon()
        self._decide(self._groups[s.group] for s in self.config.services if s.name == service)
        words = {True: "has a reachable region", False: "has no reachable region", None: "unknown"}
        self._note("service", service, words[reachable])

    def _on_workers(self, merged: Config) -> None:
        self._regions.take(from_config(merged, binding(merged)))

    def _on_news(self) -> None:
        if self._evidence.look():
            self._decide(self.config.groups)

    def _publish(self, table: Table) -> None:
        if self._after is None:
            self._steering.publish(table)

    def _on_report(self, report: Report) -> None:
        self._relays.report(report)
        self._regions.report(report)
        self._decider.drains.report(report, time.monotonic())

    def _on_steering(self, connected: bool) -> None:
        if not connected:
            self._relays.away()

    def _on_proof(self, group: str, proof: Proof) -> None:
        self._decider.proven(group, proof)
        self._note("proof", group, proof.text())

    def _on_lifeline(self, held: bool) -> None:
        self._note("lifeline", self.config.lifeline.device, "held" if held else "released")
        if self._settled:
            self._decider.lifeline(held, self._orders.levels)

    # -- decisions --------------------------------------------------------------------------

    def _decide(self, groups: Iterable[Group]) -> None:
        if not self._settled or self._after:
            return
        groups = tuple(groups)
        checks = self._decider.index.checks
        states = self._checker.states_of(name for group in groups for name in checks[group.name])
        changes: dict[str, Level] = {}
        for group in groups:
            decision = self._decision(group, states)
            self._decisions[group.name] = decision
            if decision.level is not self._orders.levels[group.name]:
                changes[group.name] = decision.level
        if changes:
            self._give(changes)
        for name, level in changes.items():
            self._note("group", name, f"{level}: {'; '.join(self._decisions[name].reasons)}")

    def _decision(self, group: Group, states: Mapping[str, State]) -> Decision:
        previous = self._orders.levels[group.name]
        told: list[str] = []
        if self._unseen and group.on_control_loss == "withdraw":
            names = [n for n in self._decider.index.checks[group.name] if n in self._unseen]
            states = {**states, **dict.fromkeys(names, State.DOWN)}
            told = [f"check {name} could not be made for long: see its errors" for name in names]
        decision = self._decider.decision(group, states, self._evidence.reachable, previous)
        told += self._evidence.against(self._decider.index.services[group.name])
        return replace(decision, reasons=(*told, *decision.reasons)) if told else decision

    def _give(self, changes: Mapping[str, Level]) -> None:
        """BIRD first; then what there is to be kept of it."""
        if after := self._after:  # for a command that began before it: else that would be undone
            after._give({name: at for name, at in changes.items() if name in after._groups})
            return
        before = {name: self._orders.levels[name] for name in changes}
        self._orders.give(changes)
        self._decider.moved(before, changes)
        for name, level in changes.items():
            self._proofs.expect(name, level)
            decision = self._decisions[name]
            told = decision.reasons if decision.level is level else ("by an operator",)
            self._hooks.tell("group", name, level, "; ".join(told))

    # -- the heart --------------------------------------------------------------------------

    async def _beat(self) -> None:
        interval = min(1.0, self.config.lifeline.heartbeat_timeout / 5)
        due = time.monotonic()
        lifeline_there = True
        while True:
            self._decider.lifeline(bool(self._lifeline.held), self._orders.levels)
            self._relays.tick(time.monotonic())
            self._evidence.look()
            observed = self._checker.observed(self._started_at)
            self._unseen = unseen(self.config.checks, observed, time.monotonic())
            self._decide(self.config.groups)
            now = time.monotonic()
            if lifeline_there and self._lifeline.held is None:
                # When it is back it says itself how it stands.
                self._note("lifeline", self.config.lifeline.device, self._lifeline.problem)
            lifeline_there = self._lifeline.held is not None
            agrees = self._announcer.client.connected and not self._announcer.problem
            refused = may_beat(
                Round(
                    due=due,
                    now=now,
                    interval=interval,
                    settled=self._settled,
                    withdraw_since=self._orders.withdraw_since,
                    lifeline_held=bool(self._lifeline.held),
                    bird_agrees=agrees,
                )
            )
            if refused is None:
                self._lifeline.beat()
            elif refused != self._beat_refused:
                self._note("heart", self.config.node.name, f"no beat: {refused}")
            self._beat_refused = refused
            self._round_at = now
            due = now + interval
            await asyncio.sleep(interval)

    def decides(self) -> bool:
        """Whether a round of decisions was made just now."""
        return self._round_at is not None and self.at_work()

    def established(self) -> set[str]:
        """The neighbors whose sessions stood when BIRD was last asked."""
        return self._bird.established()

    def at_work(self) -> bool:
        """Whether rounds of decisions are made, or BIRD is still waited for."""
        return at_work(self._round_at, time.monotonic())

    # -- the API ----------------------------------------------------------------------------

    def groups(self) -> Sequence[str]:
        """The names of the groups."""
        return list(self._groups)

    def neighbors(self) -> Sequence[str]:
        """The names of the neighbors."""
        return [neighbor.name for neighbor in self.config.bgp.neighbors]

    async def intend(self, request: Request) -> Sequence[str]:
        """Heed a request; what there is to say about it. Raises LastSite, StateError."""
        return await self._commands.heed(request)

    async def _degrade_towards(self) -> str:
        """Have BIRD's filters say what is wanted of single neighbors; why it does not, if so."""
        wanted, before = self._wishes.towards, self._announcer.towards
        if wanted == before:
            return ""
        self._decider.ledger.touched({group for group, _ in wanted ^ before})
        return "" if await self._announcer.degrade_towards(wanted) else self._announcer.problem

    async def _others(self, groups: Iterable[str]) -> Mapping[str, Judgement]:
        return await others(self._looker, self.config, [self._groups[name] for name in groups])

    async def explain(self, group: str) -> Mapping[str, Any]:
        """All that a group hangs on, and what its neighbors were sent: asked of BIRD now."""
        level = self._orders.levels[group]
        towards = self._announcer.towards
        proof = await look(self._looker, self.config, self._groups[group], level, towards)
        known = await self._others([group])
        return explanation(self.config, self.status(), group, proof, known)

    async def trace(self, address: str, service: str | None) -> Mapping[str, Any]:
        """Where a client of a service would be taken now, and why. Raises TraceError."""
        levels, groups = self._orders.levels, self.config.groups
        found = trace(self._regions, self._steering, levels, groups, address, service, time.time())
        return await found

    async def refresh(self) -> None:
        """Ask BIRD anew for what `status` shows of it; one that hangs is not waited for."""
        await self._bird.refresh()

    def status(self) -> Mapping[str, Any]:
        """The node's whole state, as JSON values."""
        return view.status(
            self.config,
            configuration=self.configuration(),
            levels=self._orders.levels,
            decisions=self._decisions,
            intents=self._wishes.present,
            groups={n: self._decider.facts(n, self._proofs.found.get(n)) for n in self._groups},
            lost=self._journal.lost,
            bird=self._bird.status,
            bird_age=time.monotonic() - self._bird.at,
            verdicts=self._checker.states(),
            counters=self._checker.counters(),
            regions=self._regions.status(),
            services=self._evidence.status(),
            siblings=self._evidence.siblings.status(time.monotonic()),
            mesh=self._mesh.status(),
            registry=self._registry.status(),
            paths=self._paths.status(),
            steering=self._steering,
            lifeline=self._lifeline.held,
            lifeline_silent=self._lifeline.silent_for(time.monotonic()),
            heart=self._beat_refused,
        )
