"""Why a region or a worker is what a client gets now, or is not: in words. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from edgenode.config import Service
from edgenode.health.risefall import State
from edgenode.regions.expectation import (
    Expectation,
    LeftAlone,
    Live,
    Room,
    at_limit,
    by_region,
    expect,
    weight_now,
)
from edgenode.regions.ranking import States, region_rtts
from edgenode.regions.registry import Registry, Target
from edgenode.steering import table


@dataclass(frozen=True)
class Seen:
    """What the relays have reported. `live`: None where there is no report yet."""

    live: Live | None = None
    left_alone: Mapping[LeftAlone, str] = field(default_factory=dict)
    """Why the relays leave a worker of this service alone, or take a region last."""


class Scene:
    """All that is known of a service at one moment."""

    def __init__(
        self,
        registry: Registry,
        service: Service,
        states: States,
        in_force: table.Table | None,
        seen: Seen,
        unix: float,
    ) -> None:
        self.states = states
        self.seen = seen
        self.targets = registry.by_region(service)
        self.rtts = region_rtts(states)
        self.totals = by_region(seen.live or {})
        self._registry = registry
        self._service = service
        self._unix = unix
        self._has_table = in_force is not None
        services = in_force.services if in_force else ()
        steered = next((one for one in services if one.name == service.name), None)
        self.tried = {one.region: one for one in steered.regions} if steered else {}
        self.places = {name: place for place, name in enumerate(self.tried, 1)}
        """Of the regions in the table, from 1 on."""
        self.listed = {
            (name, target.worker): target
            for name, region in self.tried.items()
            for target in region.workers
        }
        self.expectation = (
            expect(steered, seen.live or {}, seen.left_alone.keys(), unix)
            if steered
            else Expectation()
        )

    def weight(self, listed: table.Target) -> float:
        """What a worker's weight comes to at this moment."""
        return weight_now(listed, self._service.slow_start, self._unix)

    def share(self, target: Target) -> float:
        """The chance of a worker to be taken."""
        chosen = target.key.region == self.expectation.region
        return self.expectation.shares.get(target.key.worker, 0.0) if chosen else 0.0

    def verdict(self) -> str:
        """In one sentence, what happens and why."""
        region, room = self.expectation.region, self.expectation.room
        if not self._has_table:
            return "there is no table yet: the first probes are out"
        if not self.tried:
            return "no worker that this service may use is healthy: clients are refused"
        if region is None:
            return "all healthy workers have as many connections as they may: clients are refused"
        if room is Room.HARD:
            return f"{region}: everybody is at the soft limits, so they do not count"
        if room is Room.LEFT_ALONE or (region, None) in self.seen.left_alone:
            return f"{region}: all that are healthy have failed users, and are tried all the same"
        first = next(iter(self.tried))
        if region == first:
            return f"{region}: {self._first(region)}"
        return f"{region}: the first with room, since {first} {self._no_room(first)}"

    def of_region(self, name: str) -> str:
        """Why a region is the one, or is passed over."""
        chosen = self.expectation.region
        if not self._service.may_use(name):
            return self._forbidden(name)
        if not self.targets.get(name):
            return "no worker of it can be reached: none is known, or none in the mesh's families"
        if name not in self.tried:
            return self._not_in_table(name)
        if name == chosen:
            text = self._first(name) if self.places[name] == 1 else "the first with room"
        elif chosen is None or self.places[name] < self.places[chosen]:
            text = f"passed over: it {self._no_room(name)}"
        else:
            why = self.seen.left_alone.get((name, None)) or self._farther(name, chosen)
            text = f"comes after {chosen}: {why}"
        for target in self.targets[name]:
            if (name, target.key.worker) in self.listed and (why := self._last_resort(target)):
                return f"{text}; {why}"
        return text

    def _last_resort(self, target: Target) -> str:
        """Why a target is in the table that should not be; empty: it should."""
        if self.states[target.key].behind_bad_way:
            return "the way to it is bad, but nothing else is healthy"
        if suspect := self.states[target.key].suspect:
            return f"suspect: {suspect}, but nothing else is healthy"
        if self._registry.draining(target):
            return "it drains, but nothing else is healthy"
        return ""

    def of_worker(self, target: Target) -> Iterator[str]:
        """What there is to say of a worker: at least one thing."""
        place = (target.key.region, target.key.worker)
        state = self.states[target.key]
        listed = self.listed.get(place)
        if listed is None:
            if state.state is not State.UP:
                yield f"{state.state}: {state.reason}"
            if state.suspect:
                yield f"suspect: {state.suspect}"
            if self._registry.draining(target):
                yield "draining"
            elif state.state is State.UP and not state.suspect:
                yield "it has just come up: the next table has it"
            return
        share = self.share(target)
        if state.state is State.DOWN:
            end = "" if state.behind_bad_way else "; the next table is without it"
            yield f"down: {state.reason}{end}"
        if share > 0:
            yield f"{100 * share:.0f} % of new connections"
        elif place[0] != self.expectation.region:
            yield "its region is not the one"
        elif target.key.worker in self.expectation.shares:
            yield "the others have less to do for their weight"
        if place in self.seen.left_alone:
            yield f"left alone by the relays: {self.seen.left_alone[place]}"
        live = (self.seen.live or {}).get(place, 0)
        if (limit := _limit(live, listed)) is not None:
            yield f"at its {limit}"
        weight = self.weight(listed)
        if weight < listed.weight:
            ago = self._unix - listed.since
            yield f"came up {ago:.0f} s ago: {100 * weight / listed.weight:.0f} % of its weight"
        if why := self._last_resort(target):
            yield why

    def _forbidden(self, name: str) -> str:
        if self._service.pin is not None:
            return f"the service is pinned to {self._service.pin}"
        if name in self._service.exclude:
            return "excluded for this service"
        return "not among the regions of this service"

    def _not_in_table(self, name: str) -> str:
        targets = self.targets[name]
        up = [target for target in targets if self.states[target.key].state is State.UP]
        if not up:
            states = [self.states[target.key] for target in targets]
            down = [state.reason for state in states if state.state is State.DOWN]
            if not down:
                return "nothing is known of its workers yet"
            return f"none of its {len(states)} workers is up: {down[0]}"
        if all(self._registry.draining(target) for target in up):
            return "draining: it gets no new connections"
        if suspects := [why for target in up if (why := self.states[target.key].suspect)]:
            return f"suspect: {suspects[0]}"
        return "its workers have just come up: the next table has them"

    def _first(self, name: str) -> str:
        """Why it is before all others."""
        rtt = f"{self.rtts[name] * 1000:.1f} ms" if name in self.rtts else "not measured yet"
        if self._service.pin == name:
            return f"the service is pinned to it ({rtt})"
        if name in self._service.prefer:
            return f"preferred for this service ({rtt})"
        if len(self.tried) == 1:
            return f"the only one with a healthy worker ({rtt})"
        nearest = min(
            (one for one in self.tried if one in self.rtts), key=self.rtts.__getitem__, default=name
        )
        by = (self.rtts.get(name, 0.0) - self.rtts.get(nearest, 0.0)) * 1000
        if name in self.rtts and by > 0:
            return (
                f"first so far ({rtt}): {nearest} is {by:.1f} ms nearer, too little or too lately"
            )
        return f"the nearest ({rtt})" if name in self.rtts else f"first so far ({rtt})"

    def _farther(self, name: str, chosen: str) -> str:
        if chosen in self._service.prefer:
            return f"{chosen} is preferred"
        if name not in self.rtts or chosen not in self.rtts:
            return "not measured yet"
        by = (self.rtts[name] - self.rtts[chosen]) * 1000
        if by >= 0:
            return f"{by:.1f} ms farther"
        return f"{-by:.1f} ms nearer, too little or too lately"

    def _no_room(self, name: str) -> str:
        region = self.tried[name]
        if (name, None) in self.seen.left_alone:
            return f"comes last: {self.seen.left_alone[name, None]}"
        if (limit := _limit(self.totals.get(name, 0), region)) is not None:
            return f"is at its {limit}"
        return "has no worker with room"


def _limit(live: int, limited: table.Target | table.RegionTargets) -> str | None:
    """The limit that is reached, if any."""
    if at_limit(live, limited, Room.HARD):
        return f"hard limit ({live} of {limited.hard_limit})"
    if at_limit(live, limited, Room.SOFT):
        return f"soft limit ({live} of {limited.soft_limit})"
    return None
