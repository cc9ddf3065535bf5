"""Every interleaving of the two supervisors and their relay workers, with a kill, a time-out or a
refusal at every step: never two owners, and never none."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from edgenode.steering.handover.protocol import (
    Action,
    Do,
    Event,
    Input,
    New,
    Old,
    Say,
    step_new,
    step_old,
)


class Relays(NamedTuple):
    """The old relay workers and the new ones, each as one process, and what they were told."""

    old: str = "serves"  # frozen, gone, resets
    new: str = "waits"  # adopted, serves, gone
    to_old: tuple[str, ...] = ()
    to_new: tuple[str, ...] = ()


class World(NamedTuple):
    old: Old = Old.ALONE
    new: New = New.ASKING
    token: int | None = None  # None: not made yet
    to_new: tuple[Say, ...] = ()
    to_old: tuple[Say, ...] = (Say.HELLO,)
    old_lives: bool = True
    new_lives: bool = True
    old_open: bool = True
    new_open: bool = True
    relays: Relays = Relays()
    due: tuple[Event, ...] = ()  # what the old supervisor is about to learn
    news: tuple[Event, ...] = ()  # what the new one is about to learn
    minded: bool = True  # the token; False: to see that it is needed


def act_old(world: World, what: Input) -> World:
    state, actions = step_old(world.old, what)
    world = world._replace(old=state)
    for action in actions:
        world = do_old(world, action)
    if state is Old.ALONE and world.old_open and what is not Say.HELLO:
        world = world._replace(old_open=False)
    return world


def do_old(world: World, action: Action) -> World:
    relays = world.relays
    if isinstance(action, Say):
        return world._replace(to_new=(*world.to_new, action)) if world.new_open else world
    match action:
        case Do.FREEZE:
            told = relays._replace(to_old=(*relays.to_old, "freeze"))
            return world._replace(token=1, relays=told)
        case Do.THAW | Do.LEAVE:
            return world._replace(relays=relays._replace(to_old=(*relays.to_old, action.name)))
        case Do.CLAIM:
            if world.token or not world.minded:
                return world._replace(token=0, due=(Event.CLAIMED,))
            return world._replace(due=(Event.BEATEN,))
        case Do.FENCE:
            return world._replace(new_lives=False, new_open=False)
    return world


def act_new(world: World, what: Input) -> World:
    state, actions = step_new(world.new, what)
    world = world._replace(new=state)
    for action in actions:
        relays = world.relays
        if isinstance(action, Say):
            if world.old_open:
                world = world._replace(to_old=(*world.to_old, action))
        elif action is Do.ADOPT:
            world = world._replace(relays=relays._replace(to_new=(*relays.to_new, "adopt")))
        elif action is Do.SERVE:
            world = world._replace(relays=relays._replace(to_new=(*relays.to_new, "serve")))
        elif action is Do.CLAIM:
            won = world.token == 1 or not world.minded
            world = world._replace(token=0, news=(Event.CLAIMED if won else Event.BEATEN,))
        elif action is Do.QUIT:
            world = world._replace(new_lives=False, new_open=False)
    return world


LOCAL = {New.STARTING: Event.STARTED, New.LOADING: Event.LOADED, New.COPYING: Event.COPIED}


def kills(world: World) -> Iterator[World]:
    """SIGKILL of either, at any moment."""
    if world.old_lives:
        yield world._replace(old_lives=False, old_open=False, due=())
    if world.new_lives:
        yield world._replace(new_lives=False, new_open=False, news=())


def steps(world: World) -> Iterator[World]:
    """All else that can happen next."""
    if world.old_lives:
        yield from old_steps(world)
    if world.new_lives:
        yield from new_steps(world)
    yield from relay_steps(world)


def old_steps(world: World) -> Iterator[World]:
    if world.old is Old.FENCING:
        yield act_old(world, Say.OWNED if Say.OWNED in world.to_old else Event.UNOWNED)
    elif world.due:
        yield act_old(world._replace(due=()), world.due[0])
    elif world.old is not Old.GONE and world.old_open:
        if world.to_old:
            yield act_old(world._replace(to_old=world.to_old[1:]), world.to_old[0])
        elif not world.new_open:
            yield act_old(world, Event.LOST)
        if world.old is Old.FREEZING and world.relays.old == "frozen":
            yield act_old(world, Event.FROZEN)
        if world.old is not Old.ALONE:
            yield act_old(world, Event.LOST)  # a time-out, or a refusal of its own


def new_steps(world: World) -> Iterator[World]:
    if world.news:
        # Between the claim and OWNED it may be killed.
        yield act_new(world._replace(news=()), world.news[0])
        return
    if world.to_new:
        yield act_new(world._replace(to_new=world.to_new[1:]), world.to_new[0])
    elif not world.old_open:
        yield act_new(world, Event.SILENT)
    if world.new in LOCAL:
        yield act_new(world, LOCAL[world.new])
    if world.new in (New.ADOPTING, New.ALONE) and world.relays.new == "adopted":
        yield act_new(world, Event.ADOPTED)
    if world.new is not New.OWNER:
        yield act_new(world, Event.LOST)  # a time-out, or it cannot


def relay_steps(world: World) -> Iterator[World]:
    relays = world.relays
    if relays.to_old:
        state = {"freeze": "frozen", "THAW": "serves", "LEAVE": "gone"}[relays.to_old[0]]
        if relays.old not in ("gone", "resets"):
            yield world._replace(relays=relays._replace(old=state, to_old=relays.to_old[1:]))
    elif not world.old_lives and relays.old in ("serves", "frozen"):
        if relays.old == "serves":
            yield world._replace(relays=relays._replace(old="resets"))
        elif world.token == 1:  # it has waited for the new one for long enough
            yield world._replace(token=0, relays=relays._replace(old="resets"))
        else:
            yield world._replace(relays=relays._replace(old="gone"))
    if relays.to_new and relays.new != "gone":
        state = {"adopt": "adopted", "serve": "serves"}[relays.to_new[0]]
        yield world._replace(relays=relays._replace(new=state, to_new=relays.to_new[1:]))
    elif not world.new_lives and relays.new != "gone":
        yield world._replace(relays=relays._replace(new="gone"))


def search(start: World) -> tuple[set[World], list[World], list[World]]:
    """All worlds that can be; those with two owners; those at rest in which nobody serves."""
    seen, waiting = {start}, deque([start])
    two, none = [], []
    while waiting:
        world = waiting.popleft()
        if world.relays.old in ("serves", "resets") and world.relays.new == "serves":
            two.append(world)
        following = set(steps(world))
        if following <= {world} and not serves(world):
            none.append(world)
        fresh = following.union(kills(world)) - seen
        seen |= fresh
        waiting.extend(fresh)
    return seen, two, none


def serves(world: World) -> bool:
    """Whether somebody serves, as far as the one that should is not dead."""
    if world.old_lives and world.old is not Old.GONE:
        return world.relays.old == "serves"
    if world.new_lives and world.new is New.OWNER:
        return world.relays.new == "serves"
    # Of those that are left nobody could: the last owner was killed, or the old one before the
    # new one was ready.
    return world.new is New.OWNER or not world.old_lives


def test_never_two_owners_and_never_none() -> None:
    seen, two, none = search(World())
    assert len(seen) > 500
    assert two == []
    assert none == []
    # It can succeed, and it can be undone at each step.
    assert any(w.old is Old.GONE and w.relays.new == "serves" for w in seen)
    back = {w.new for w in seen if w.old is Old.ALONE and w.old_lives and not w.old_open}
    assert {New.STARTING, New.COPYING, New.ADOPTING, New.READY, New.CLAIMING} <= back


def test_without_the_token_there_would_be_two() -> None:
    _, two, _ = search(World(minded=False))
    assert two


@pytest.mark.parametrize("state", [Old.ASKED, Old.OFFERED, Old.COPYING, Old.FROZEN])
def test_nonsense_is_as_good_as_the_new_ones_loss(state: Old) -> None:
    assert step_old(state, Say.HELLO) == step_old(state, Event.LOST)


def test_an_owner_stays_one() -> None:
    for what in (*Say, *Event):
        assert step_new(New.OWNER, what) == (New.OWNER, ())
