"""Looks at each tunnel path: sends the echoes, tells what is found, sizes the routes."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from edgenode.config import Config, schema
from edgenode.config.values import Address
from edgenode.control.binding import binding
from edgenode.control.mesh import MeshKeeper
from edgenode.mesh.owners import Owners
from edgenode.paths import Path, State, Times, Verdict
from edgenode.paths.echo import EchoError, Echoes
from edgenode.paths.path import Ask
from edgenode.paths.targets import targets
from edgenode.paths.verdict import BAD, judge
from edgenode.regions import Regions

LOOK = 1.0
"""Seconds between two verdicts on each path."""
REOPEN = 2.0
"""Seconds until sockets that could not be opened are tried again."""
LEAST = 0.02
"""Seconds between two looks at what is due: echoes in between are sent together."""
PAUSE = 1.0
"""Seconds by which our loop was late, so that what seems to be silent may be ourselves."""
HOLD = 30.0
"""Seconds that nothing is held against a path after that, at most."""


@dataclass
class _Watched:
    """A peer's path, and what was last said of it."""

    path: Path
    signature: tuple[object, ...]
    """What of the configuration its knowledge hangs on."""
    verdict: Verdict
    since: float
    """UNIX time of the verdict's state."""
    size: int | None = None
    silent: bool = False
    held: float = 0.0
    """Monotonic seconds until when its verdict gets no worse."""
    trouble: str = ""
    """Why no echoes are sent to it; empty: they are."""
    handshake_age: float | None = None


class PathKeeper:
    """One for each configuration. `note(kind, subject, text)` is told each change once."""

    def __init__(
        self,
        config: Config,
        mesh: MeshKeeper,
        regions: Callable[[], Regions],
        note: Callable[[str, str, str], None],
        before: PathKeeper | None = None,
    ) -> None:
        """`regions`: those that go by what `problem` says, and whose workers are asked.

        `before`: the keeper under the configuration before; what it knows goes on.
        """
        self._mesh = mesh
        self._bind = binding(config)
        self._regions = regions
        self._note = note
        self._peers: tuple[schema.MeshPeer, ...] = config.mesh.peers if config.mesh else ()
        self._enabled = config.mesh is not None and config.mesh.paths.enabled
        self._watched: dict[str, _Watched] = {}
        self._seen: object = None
        self._probe = max((region.probe.timeout for region in config.regions), default=0.0)
        self._owners = Owners(self._peers)
        self._numbers: dict[int, tuple[Path, Ask]] = {}
        self._aimed_at: frozenset[Address] | None = None
        self._behind: dict[str, list[Address]] = {}
        """The workers' addresses behind each peer."""
        self._told: dict[str, int | None] = {}
        self.trouble: str = before.trouble if before else ""
        """Why no echoes are sent; empty: they are."""
        if config.mesh and self._enabled:
            self._begin(config.mesh, before._watched if before else {})

    def _begin(self, mesh: schema.Mesh, before: Mapping[str, _Watched]) -> None:
        now, times = time.monotonic(), mesh.paths
        for position, peer in enumerate(mesh.peers):
            signature = (peer.public_key, mesh.mtu, times)
            known = before.get(peer.name)
            if known and known.signature == signature:
                known.path.abandon(now)
                self._watched[peer.name] = known
                self._hold(known, now, LOOK)
                continue
            path = Path(
                peer.name,
                Times(times.interval, times.full_interval, times.timeout, times.grow_interval),
                mesh.mtu,
                times.min_mtu,
                now,
                position / len(mesh.peers),
            )
            unknown = Verdict(State.UNKNOWN, f"no echo of {peer.name} yet")
            self._watched[peer.name] = _Watched(path, signature, unknown, time.time())

    # -- what is known ----------------------------------------------------------------------

    def problem(self, address: Address) -> str | None:
        """Why the way to an address is no good, by its echoes or by its handshakes.

        None: it is good, or that is not known.
        """
        watched = self._watched.get(self._owners.of(address) or "")
        found = None
        if watched is not None and not (self.trouble or watched.trouble):
            found = watched.verdict.problem(address.version)
        return found or self._mesh.path_problem(address)

    def status(self) -> list[dict[str, Any]]:
        """Each peer's path, as JSON values."""
        return [
            _status(name, each, self.trouble or each.trouble)
            for name, each in self._watched.items()
        ]

    # -- at work ----------------------------------------------------------------------------

    async def run(self) -> None:
        """Until cancelled."""
        if not self._enabled:
            self._mesh.size({peer.name: None for peer in self._peers})
            return
        while True:
            try:
                echoes = Echoes(self._bind, self._answered)
            except EchoError as error:
                self._complain(str(error))
                await asyncio.sleep(REOPEN)
                continue
            try:
                await self._send(echoes)
            except EchoError as error:  # the device is being made anew
                self._complain(str(error))
                await asyncio.sleep(LOOK)
            finally:
                echoes.close()

    async def _send(self, echoes: Echoes) -> None:
        """Raises EchoError when the sockets are of no use any more."""
        look_at, wake_at = 0.0, math.inf
        while True:
            now = time.monotonic()
            if (late := now - wake_at) > PAUSE:
                for watched in self._watched.values():
                    self._hold(watched, now, late)
            if now >= look_at:
                self._look(now)
                look_at = now + LOOK
            due, next_at = [], look_at
            for name, watched in self._watched.items():  # hundreds, some dozen times a second
                at = watched.path.next_at
                if at <= now:
                    due.append((name, watched))
                elif at < next_at:
                    next_at = at
            if due:
                echoes.drain()
            for name, watched in due:
                self._round(name, watched, echoes, now)
                next_at = min(next_at, watched.path.next_at)
            wake_at = max(now + LEAST, next_at)
            await asyncio.sleep(max(LEAST, wake_at - time.monotonic()))

    def _hold(self, watched: _Watched, now: float, pause: float) -> None:
        """We stood still: no verdict gets worse until others were asked and looked at anew."""
        watched.held = now + min(2 * pause, HOLD) + self._probe + LOOK
        watched.silent = False  # workers are asked once more

    def _round(self, name: str, watched: _Watched, echoes: Echoes, now: float) -> None:
        path, trouble = watched.path, ""
        asks = path.begin(now)
        for ask in asks:
            try:
                self._numbers[echoes.send(ask.address, ask.size)] = (path, ask)
            except EchoError as error:
                if error.gone:
                    path.abandon(now)
                    raise
                if not path.unsent(ask, now):
                    trouble = str(error)
                    break
        if trouble and {ask.address for ask in asks}.issuperset(path.targets):
            if not watched.trouble:
                self._note("path", name, trouble)
            watched.trouble = watched.trouble or trouble
        elif asks and not trouble:
            self.trouble = watched.trouble = ""

    def _answered(self, number: int, rtt: float) -> None:
        path, ask = self._numbers.pop(number, (None, None))
        if path is not None and ask is not None:
            path.answer(ask, rtt, time.monotonic())

    def _look(self, now: float) -> None:
        """Take what others know, and judge each path."""
        reached = self._regions().reached()
        self._aim(frozenset(reached))
        seen = self._mesh.seen
        looked, self._seen = seen is not self._seen, seen
        states = {peer.name: peer for peer in seen}
        in_doubt: list[Address] = []
        for peer in self._peers:
            watched = self._watched[peer.name]
            state = states.get(peer.name)
            if looked and state:
                watched.path.arrivals = watched.path.arrivals.look(state.rx, now)
                watched.handshake_age = state.handshake_age
            stale = state.stale if state else False
            behind = self._behind.get(peer.name, ())
            if watched.path.silent and not watched.silent:
                in_doubt += behind
            watched.silent = watched.path.silent
            latest = max((at for a in behind if (at := reached[a]) is not None), default=None)
            preshared = peer.preshared_key_file is not None
            probe = self._probe + LOOK
            facts = watched.path.facts(latest, peer.keepalive, stale, probe, preshared)
            self._judged(peer.name, watched, judge(facts, now), now)
        if in_doubt:
            self._regions().ask(in_doubt)
        told = {name: w.path.mtu for name, w in self._watched.items() if w.path.sized}
        if told != self._told:
            self._mesh.size(told)
            self._told = told

    def _aim(self, workers: frozenset[Address]) -> None:
        """Send echoes to workers that are there now."""
        if workers == self._aimed_at:
            return
        self._aimed_at = workers
        self._behind = {}
        for address in sorted(workers, key=lambda a: (a.version, int(a))):
            if (owner := self._owners.of(address)) is not None:
                self._behind.setdefault(owner, []).append(address)
        versions = [v for v, own in ((4, self._bind.ipv4), (6, self._bind.ipv6)) if own]
        for peer in self._peers:
            found = targets(peer, versions, self._behind.get(peer.name, ()))
            path = self._watched[peer.name].path
            path.targets, path.hosts = found.addresses, found.hosts

    def _judged(self, name: str, watched: _Watched, verdict: Verdict, now: float) -> None:
        before, size = watched.verdict, watched.path.size
        if verdict == before and size == watched.size:
            return
        if now < watched.held and verdict.worse(before):
            return
        if verdict.state is not before.state:
            watched.since = time.time()
        watched.verdict, watched.size = verdict, size
        self._regions().look()
        first = before.state is State.UNKNOWN and verdict.state not in BAD and size is None
        if not first:
            self._note("path", name, f"{verdict.state}: {verdict.reason}")

    def _complain(self, trouble: str) -> None:
        if trouble != self.trouble:
            self._note("path", self._bind.device or "mesh", trouble)
        self.trouble = trouble


def _status(name: str, watched: _Watched, trouble: str) -> dict[str, Any]:
    path, verdict, age = watched.path, watched.verdict, watched.handshake_age
    if trouble:
        verdict = Verdict(State.UNKNOWN, trouble)
    return {
        "name": name,
        "state": verdict.state.value,
        "bad": verdict.state in BAD,
        "reason": verdict.reason,
        "since": watched.since,
        "direction": verdict.direction.value if verdict.direction else None,
        "likely": verdict.likely,
        "rtt_ms": round(path.rtt * 1000, 2) if path.rtt is not None else None,
        "loss": round(path.loss, 3) if path.loss is not None else None,
        "handshake_age": round(age, 1) if age is not None else None,
        "mtu": {
            "configured": path.configured,
            "proven": path.proven,
            "lowered": path.mtu if path.sized else None,
        },
        "asked": [str(address) for address in path.targets],
    }
