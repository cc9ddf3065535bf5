"""The new supervisor's part of a handover: it asks, and ends if anything is not as it should be.

Until it owns the connections nothing it does is seen by anybody, so it may end at any moment.
"""

from __future__ import annotations

import contextlib
import json
import logging
import selectors
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from edgenode.steering.handover import record
from edgenode.steering.handover.channel import (
    Channel,
    Closed,
    Message,
    claim,
    close_all,
    pair,
    unseal,
)
from edgenode.steering.handover.leaving import PATIENCE
from edgenode.steering.handover.protocol import Action, Do, Event, Input, New, Say, step_new
from edgenode.steering.slot import Slot

_ANSWER = 5.0  # seconds until the old one has answered
_STARTS = 60.0  # seconds until relay workers run
_STEP = 10.0  # seconds for each step before the freeze

OnStep = Callable[[str], None]

logger = logging.getLogger("edgenode.steering")


class HandoverError(Exception):
    """It cannot take over; the message says why. The old version goes on."""


class Host(Protocol):
    """What the supervisor does for it."""

    @property
    def slots(self) -> Sequence[Slot]: ...

    def load(self, state: dict[str, Any], listeners: Sequence[dict[str, socket.socket]]) -> None:
        """Hand table and listeners (of each relay worker) to the relay workers."""

    def loaded(self) -> bool:
        """Whether all obey."""


class Taking:
    """`workers`: how many relay workers there are. `control` and `listener`: the sockets on which
    control and the next version find steering. `watchdog`: see `notify`."""

    def __init__(self, other: Channel, files: int, on_step: OnStep | None = None) -> None:
        """Ask the old one. Raises HandoverError."""
        self._other = other
        self._on_step = on_step
        self._state = New.ASKING
        self._seen: dict[Event, set[Slot]] = {}
        self._token = -1
        self._counters: list[dict[str, Any]] = []
        self._table: dict[str, Any] = {}
        self._listeners: list[dict[str, socket.socket]] = []
        self._expected = 0  # listeners that are still to come
        self._reason = ""
        self.waited = 0.0
        """Seconds in which nobody served."""
        self._deadline = time.monotonic() + _ANSWER
        try:
            with contextlib.suppress(Closed):  # it has refused before, and said why
                self._say(
                    Say.HELLO,
                    formats=[record.FORMAT],
                    knows=sorted(record.KNOWN | record.NEEDS),
                    files=files,
                )
            message, descriptors = other.receive(self._deadline)
        except OSError as error:
            raise HandoverError(f"it does not answer: {error}") from None
        if message.get("type") != Say.WELCOME or len(descriptors) != 2:
            close_all(descriptors)
            raise HandoverError(str(message.get("reason", "it does not say why")))
        self.workers: int = message["workers"]
        self.control, self.listener = (socket.socket(fileno=fd) for fd in descriptors)
        self.watchdog: float | None = message.get("watchdog")

    def run(self, host: Host, selector: selectors.BaseSelector) -> None:
        """Take over. Raises HandoverError."""
        self._host, self._selector = host, selector
        self._listeners = [{} for _ in range(self.workers)]
        for slot in host.slots:
            slot.on_step = self._on_slot
        selector.register(self._other, selectors.EVENT_READ, self._on_message)
        try:
            self._feed(Say.WELCOME)
            while self._state not in (New.OWNER, New.GONE):
                self._round()
        finally:
            selector.unregister(self._other)
            for slot in host.slots:
                slot.on_step = None
            if self._state is not New.OWNER:
                self._other.close()
                for slot in host.slots:
                    if slot.process is not None:
                        slot.process.kill()
        if self._state is not New.OWNER:
            raise HandoverError(self._reason or "the old one has closed")

    def close(self) -> None:
        """The old one may end now."""
        self._other.close()

    @property
    def counters(self) -> Sequence[dict[str, Any]]:
        """What each relay worker had counted."""
        return self._counters

    # --- what happens

    def _round(self) -> None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            self._lose(f"it took too long ({self._state.name.lower()})")
            return
        for key, mask in self._selector.select(min(left, 0.5)):
            if self._selector.get_map().get(key.fd) is not None:
                key.data(mask, time.monotonic())
        if self._state not in (New.ASKING, New.OWNER, New.GONE) and any(
            slot.process is None for slot in self._host.slots
        ):
            self._lose("a relay worker of the new version has ended")
        if self._state is New.LOADING and self._loaded():
            self._feed(Event.LOADED)

    def _loaded(self) -> bool:
        return self._table != {} and self._expected == 0 and self._host.loaded()

    def _on_message(self, _events: int, _now: float) -> None:
        while self._state not in (New.OWNER, New.GONE):
            try:
                message, descriptors = self._other.receive()
            except TimeoutError:
                return
            except OSError as error:
                self._selector.modify(self._other, 0, self._on_message)
                self._reason = self._reason or str(error)
                self._feed(Event.SILENT)
                return
            try:
                self._hear(message, descriptors)
            except (OSError, LookupError, TypeError, ValueError) as error:
                self._lose(f"what it said is not understood: {error}")

    def _hear(self, message: Message, descriptors: list[int]) -> None:
        what = Say(message["type"])
        if what is Say.FAILED:
            self._lose(str(message.get("reason")))
        elif what is Say.STATE and "names" in message:
            for (row, listen), fd in zip(message["names"], descriptors, strict=True):
                self._listeners[row][listen] = socket.socket(fileno=fd)
            self._expected -= len(descriptors)
            self._load()
        elif what is Say.STATE:
            self._expected = message["listeners"]
            self._table = json.loads(unseal(descriptors[0]))
            self._feed(what)
        elif what is Say.FROZEN:
            memory, self._token = descriptors
            self._counters = json.loads(unseal(memory))
            self._deadline = message["deadline"]
            self._feed(what)
        else:
            close_all(descriptors)
            self._feed(what)

    def _on_slot(self, slot: Slot, message: Message) -> None:
        """A relay worker has got to a step, or cannot."""
        steps = {
            "started": Event.STARTED,
            "copied": Event.COPIED,
            "adopted": Event.ADOPTED,
        }
        event = steps.get(message["step"])
        if event is None:
            self._lose(f"relay worker: {message.get('reason')}")
            return
        seen = self._seen.setdefault(event, set())
        seen.add(slot)
        if seen >= set(self._host.slots):
            if event is Event.ADOPTED and self._state is New.COPIED:
                return  # FROZEN is on its way; see `_do`
            self._feed(event)

    def _lose(self, reason: str) -> None:
        self._reason = self._reason or reason
        if self._state is not New.GONE:
            self._feed(Event.LOST)

    # --- what is done

    def _feed(self, what: Input) -> None:
        before = self._state
        self._state, actions = step_new(before, what)
        if self._state is not before and self._state in _WAITS:
            self._deadline = time.monotonic() + _WAITS[self._state]
        for action in actions:
            try:
                if self._on_step is not None:
                    self._on_step(f"new-{action.name}")
                self._do(action)
            except OSError as error:
                self._lose(str(error))
                return

    def _do(self, action: Action) -> None:
        slots = self._host.slots
        match action:
            case Do.START:
                self._start(slots)
            case Say.COPY:
                self._say(action, self._ends)
                close_all(self._ends)
            case Do.LOAD:
                self._load()
            case Do.ADOPT:
                if self._seen.get(Event.ADOPTED, set()) >= set(slots):
                    self._feed(Event.ADOPTED)
            case Do.CLAIM:
                # The last moment at which the old one's relay workers can still go on.
                if any(slot.process is None or slot.process.has_ended for slot in slots):
                    self._lose("a relay worker of the new version has ended")
                    return
                self._feed(Event.CLAIMED if claim(self._token) else Event.BEATEN)
            case Say.OWNED:
                try:
                    self._say(action)
                except OSError:
                    return  # the old one is dead: there is nobody to be told
            case Do.SERVE:
                for slot in slots:
                    slot.say({"type": "serve"})
                self.waited = max(0.0, time.monotonic() - self._deadline + PATIENCE)
            case Say():
                self._say(action)

    def _start(self, slots: Sequence[Slot]) -> None:
        self._ends: list[int] = []
        for slot in slots:
            ours, theirs = pair()
            self._ends.append(ours.detach())
            with theirs:
                slot.arrive(time.monotonic(), theirs.fileno())

    def _load(self) -> None:
        if self._expected == 0 and self._state is New.LOADING:
            self._host.load(self._table, self._listeners)

    def _say(self, what: Say, descriptors: Sequence[int] = (), **message: object) -> None:
        self._other.send({"type": what, **message}, descriptors, time.monotonic() + 1.0)


_WAITS = {
    New.STARTING: _STARTS,
    New.PREPARING: _STEP,
    New.LOADING: _STEP,
    New.COPYING: _STEP,
    New.COPIED: _STEP,
}


def ask(path: Path, files: int, on_step: OnStep | None = None) -> Taking | None:
    """Ask the steering that runs; None if none listens there. Raises HandoverError."""
    end = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        end.connect(str(path))
    except (FileNotFoundError, ConnectionRefusedError):
        end.close()
        return None
    except OSError as error:
        end.close()
        raise HandoverError(f"{path}: {error.strerror}") from None
    return Taking(Channel(end), files, on_step)
