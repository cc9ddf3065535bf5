"""The node's brain: observations in, decisions, BIRD and steering told.

Everything runs in one event loop, and a verdict of a check reaches BIRD within the event that
brought it. What may block (netlink, SQLite, the mesh) is done in threads, off that path.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from edgenode.bgp.announcer import Announcer, Status
from edgenode.bgp.client import BirdClient, BirdError, BirdUnavailable
from edgenode.bgp.levels import Level
from edgenode.bgp.policy import Decision, decide
from edgenode.config import Config, Group
from edgenode.control import view
from edgenode.control.heart import Round, may_beat
from edgenode.control.intent import asked
from edgenode.control.mesh import MeshKeeper
from edgenode.health.checker import Checker
from edgenode.health.risefall import State, Verdict
from edgenode.lifeline.pulse import Pulse
from edgenode.regions import Regions
from edgenode.state import Event, Intent, IntentKind, Intents, Journal, StateError
from edgenode.steering.link import SteeringLink
from edgenode.steering.table import Bind, Table

log = logging.getLogger(__name__)

AGAIN = 1.0
"""Seconds until a part that has failed is started again."""
INTENTS = 2.0
"""Seconds between two looks at the stored intents."""


class Control:
    """One per node. `run()` until cancelled."""

    def __init__(
        self, config: Config, intents: Intents, journal: Journal, last_table: Table | None
    ) -> None:
        """Raises StateError, SecretError."""
        self.config = config
        self._intents = intents
        self._intended = intents.all()
        self._journal = journal
        self._groups = {group.name: group for group in config.groups}
        self._levels = dict.fromkeys(self._groups, Level.WITHDRAWN)
        waiting = Decision(Level.WITHDRAWN, ("waiting for the lifeline and BIRD",), evident=False)
        self._decisions = dict.fromkeys(self._groups, waiting)
        self._storage = asyncio.Lock()
        self._unsaved: dict[str, Intent] = {}
        self._settled = False
        self._unconfirmed: dict[str, float] = {}
        """Groups of which BIRD has not confirmed the withdraw, since when."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._beat_refused: str | None = None
        self._bird: Status | None = None
        self._sessions: dict[str, str] = {}
        self._checker = Checker(config.checks, self._on_verdict)
        self._announcer = Announcer(config, BirdClient(config.bgp.socket))
        self._lifeline = Pulse(config.node.run_dir / "lifeline.sock", on_state=self._on_lifeline)
        self._mesh = MeshKeeper(config, self._note)
        self._steering = SteeringLink(config.node.run_dir / "steering.sock")
        self._regions = Regions(
            config,
            _bind(config),
            self._steering.publish,
            self._on_reachability,
            last=last_table,
        )
        self._steering.on_report = lambda report: self._regions.report(report.to_json())

    async def run(self) -> None:
        """Everything at once, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for name, part in {
                "announcer": self._announcer.run,
                "lifeline": self._lifeline.run,
                "mesh": self._mesh.run,
                "steering": self._steering.run,
                "regions": self._regions.run,
                "bird": self._watch_bird,
                "intents": self._watch_intents,
                "checks": self._checker.run,
            }.items():
                tasks.create_task(_again_and_again(name, part), name=name)
            # Take over what is announced, or begin from nothing; only then decide and beat.
            await self._start()
            tasks.create_task(_again_and_again("heart", self._beat), name="heart")

    # -- starting ---------------------------------------------------------------------------

    async def _start(self) -> None:
        if await self._lifeline.wait_state():
            found = await self._found()
            # BIRD may have kept us waiting for longer than the grace lasted.
            if self._lifeline.held:
                self._note("control", self.config.node.name, f"takes over: {_spell(found)}")
                self._levels |= found
        self._settled = True
        await self._put(self._levels)
        self._decide_all()

    async def _found(self) -> dict[str, Level]:
        """What BIRD announces; without it there is nothing to take over, nor to beat for."""
        while True:
            try:
                return await self._announcer.adopt()
            except (BirdUnavailable, BirdError):
                await asyncio.sleep(0.05)

    # -- observations -----------------------------------------------------------------------

    def _on_verdict(self, verdict: Verdict) -> None:
        self._decide(g for g in self.config.groups if verdict.check in g.checks)
        self._note("check", verdict.check, f"{verdict.state}: {verdict.reason}")

    def _on_reachability(self, service: str, reachable: bool | None) -> None:
        self._decide(self._groups[s.group] for s in self.config.services if s.name == service)
        words = {True: "has a reachable region", False: "has no reachable region", None: "unknown"}
        self._note("service", service, words[reachable])

    def _on_lifeline(self, held: bool) -> None:
        self._note("lifeline", self.config.lifeline.device, "held" if held else "released")
        if not held and self._settled:
            # What was only kept has nothing to speak for it once it is gone.
            gone = [name for name, made in self._decisions.items() if not made.evident]
            self._change(
                {n: Level.WITHDRAWN for n in gone if self._levels[n] is not Level.WITHDRAWN}
            )

    # -- decisions --------------------------------------------------------------------------

    def _decide_all(self) -> None:
        self._decide(self.config.groups)

    def _decide(self, groups: Iterable[Group]) -> None:
        if not self._settled:
            return
        states = {name: verdict.state for name, verdict in self._checker.states().items()}
        changes: dict[str, Level] = {}
        for group in groups:
            decision = self._decision(group, states)
            self._decisions[group.name] = decision
            if decision.level is not self._levels[group.name]:
                changes[group.name] = decision.level
        self._change(changes)

    def _change(self, changes: Mapping[str, Level]) -> None:
        if not changes:
            return
        self._levels.update(changes)
        task = asyncio.get_running_loop().create_task(self._put(changes))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        for name, level in changes.items():
            self._note("group", name, f"{level}: {'; '.join(self._decisions[name].reasons)}")

    def _decision(self, group: Group, states: Mapping[str, State]) -> Decision:
        want = asked(self._intended.get(group.name), time.time(), self.config.bgp.drain_time)
        return decide(
            group,
            states,
            {
                service.name: self._regions.reachable(service.name)
                for service in self.config.services_of(group.name)
            },
            drained=want.drained,
            withdrawn=want.withdrawn,
            previous=self._levels[group.name],
        )

    async def _put(self, levels: Mapping[str, Level]) -> None:
        """Tell BIRD. A withdraw that it does not confirm stops the heart, see `heart`."""
        for name, level in levels.items():
            if level is Level.WITHDRAWN:
                self._unconfirmed.setdefault(name, time.monotonic())
            else:
                self._unconfirmed.pop(name, None)
        if await self._announcer.set_levels(levels):
            for name, level in levels.items():
                if level is Level.WITHDRAWN and self._levels[name] is level:
                    self._unconfirmed.pop(name, None)

    # -- the heart --------------------------------------------------------------------------

    async def _beat(self) -> None:
        interval = min(1.0, self.config.lifeline.heartbeat_timeout / 5)
        due = time.monotonic()
        while True:
            self._decide_all()
            now = time.monotonic()
            agrees = self._announcer.client.connected and not self._announcer.problem
            refused = may_beat(
                Round(
                    due=due,
                    now=now,
                    interval=interval,
                    settled=self._settled,
                    withdraw_since=min(self._unconfirmed.values(), default=None),
                    lifeline_held=bool(self._lifeline.held),
                    bird_agrees=agrees,
                )
            )
            if refused is None:
                self._lifeline.beat()
            elif refused != self._beat_refused:
                self._note("heart", self.config.node.name, f"no beat: {refused}")
            self._beat_refused = refused
            due = now + interval
            await asyncio.sleep(interval)

    async def _watch_bird(self) -> None:
        """Sessions that come and go are events too."""
        while True:
            await self.refresh()
            await asyncio.sleep(1.0)

    async def refresh(self) -> None:
        """Ask BIRD anew for what `status` shows of it."""
        asked_at = time.monotonic()
        self._bird = await self._announcer.status()
        if self._bird.agrees:
            # What was asked of BIRD after that is another matter.
            later = {n: at for n, at in self._unconfirmed.items() if at >= asked_at}
            self._unconfirmed = later
        for session in self._bird.sessions:
            known = self._sessions.get(session.neighbor)
            self._sessions[session.neighbor] = session.state
            ended = known == "Established" and not session.established
            if ended or (session.established and known != "Established"):
                text = f"{session.state} {session.error}".strip()
                self._note("neighbor", session.neighbor, text)

    async def _watch_intents(self) -> None:
        """The command stores an intent itself where it cannot reach us: we hung, or were away."""
        while True:
            await asyncio.sleep(INTENTS)
            try:
                async with self._storage:
                    if self._unsaved:
                        await asyncio.to_thread(self._intents.put, *self._unsaved.values())
                        self._unsaved = {}
                    self._intended = await asyncio.to_thread(self._intents.all)
            except StateError as error:
                log.warning("%s", error)
            # The next round of decisions heeds them.

    # -- the API ----------------------------------------------------------------------------

    def groups(self) -> Sequence[str]:
        """The names of the groups."""
        return list(self._groups)

    async def intend(self, groups: Sequence[str], kind: IntentKind, reason: str) -> None:
        """Drain or withdraw groups. Raises StateError where it cannot be remembered."""
        now = time.time()
        fresh = {name: Intent(name, kind, now, reason) for name in groups}
        for name, known in self._intended.items():
            if name in fresh and known.kind is kind:
                # Said again: a drain does not start over.
                fresh[name] = replace(fresh[name], since=known.since)
        if kind is IntentKind.WITHDRAWN:
            # A full disk must not hold up a withdraw, nor undo it at the next look at the disk.
            self._unsaved |= fresh
            self._intended |= fresh
            self._decide_all()
        async with self._storage:
            await asyncio.to_thread(self._intents.put, *fresh.values())
            self._unsaved = {n: i for n, i in self._unsaved.items() if n not in fresh}
            self._intended |= fresh
        self._decide_all()
        for intent in fresh.values():
            self._note("intent", intent.group, f"{kind} by the operator: {reason or 'no reason'}")

    async def release(self, groups: Sequence[str]) -> None:
        """Let checks and regions decide again. Raises StateError."""
        async with self._storage:
            await asyncio.to_thread(self._intents.clear, *groups)
            for name in groups:
                self._unsaved.pop(name, None)
                if self._intended.pop(name, None):
                    self._note("intent", name, "released by the operator")
        self._decide_all()

    def status(self) -> Mapping[str, Any]:
        """The node's whole state, as JSON values."""
        return view.status(
            self.config,
            levels=self._levels,
            decisions=self._decisions,
            intents=self._intended,
            bird=self._bird,
            verdicts=self._checker.states(),
            regions=self._regions.status(),
            peers=self._mesh.peers,
            mesh_problem=self._mesh.problem,
            steering_connected=self._steering.connected,
            report=self._steering.report.to_json() if self._steering.report else None,
            lifeline=self._lifeline.held,
            heart=self._beat_refused,
        )

    def _note(self, kind: str, subject: str, text: str) -> None:
        log.info("%s %s: %s", kind, subject, text)
        self._journal.record(Event(time.time(), kind, subject, text))


async def _again_and_again(name: str, part: Callable[[], Awaitable[None]]) -> None:
    """Run a part; what goes wrong in it by a fault of ours is loud, and ends no other part.

    If it is the heart that fails, no beat comes, and the lifeline acts.
    """
    while True:
        try:
            await part()
            return
        except Exception:
            log.exception("%s failed, and is started again in %g s", name, AGAIN)
        await asyncio.sleep(AGAIN)


def _bind(config: Config) -> Bind:
    if config.mesh is None:
        return Bind()
    own = {address.version: str(address) for address in config.mesh.addresses}
    return Bind(device=config.mesh.device, ipv4=own.get(4), ipv6=own.get(6))


def _spell(levels: Mapping[str, Level]) -> str:
    return ", ".join(f"{name} {level}" for name, level in levels.items())
