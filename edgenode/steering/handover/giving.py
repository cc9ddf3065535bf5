"""The old supervisor's part of a handover: it answers, and goes on if the new version does not.

Whoever connects to its socket (`meeting`) must be of the same user. While it hands over, control's
tables wait; nothing else of its work does.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import selectors
import signal
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from edgenode.steering.handover import record
from edgenode.steering.handover.channel import (
    MOST_DESCRIPTORS,
    Channel,
    Closed,
    Message,
    claim,
    close_all,
    make_token,
    seal,
)
from edgenode.steering.handover.leaving import PATIENCE
from edgenode.steering.handover.meeting import peer
from edgenode.steering.handover.protocol import OLD, Action, Do, Event, Input, Old, Say, step_old
from edgenode.steering.process import is_stopped
from edgenode.steering.slot import Slot

_WAITS = {Old.ASKED: 60.0, Old.OFFERED: 10.0, Old.COPYING: 5.0, Old.FREEZING: PATIENCE}
"""Seconds in each state; from FREEZING on it is the users who wait, and they do so once."""

_BRIEF = 0.2  # seconds in which a message must be taken
_BEATEN = 1.0  # seconds from the claim to OWNED, which follow each other at once
_LAST_WORDS = 0.3  # seconds that one that has failed gets to say so, before it is killed
_STOPS = 0.1  # seconds until a process has stopped
_DEATH = 5.0  # seconds until a killed process has ended

OnStep = Callable[[str], None]
"""Is told each step before it is made: tests stop here."""

_SPARE = 256  # files of a relay worker for other things

logger = logging.getLogger("edgenode.steering")


class Host(Protocol):
    """What the supervisor does for it."""

    @property
    def slots(self) -> Sequence[Slot]: ...

    @property
    def control(self) -> socket.socket:
        """Control's listener."""

    @property
    def watchdog(self) -> float | None:
        """See `notify.Notifier`."""

    def unfit(self) -> str | None:
        """Why it cannot hand over now."""

    def offer(self) -> dict[str, Any]:
        """The table and the like, for the new one. No table is obeyed until `keep`."""

    def keep(self) -> None:
        """It goes on."""

    def leave(self, heir: int) -> None:
        """That process has the connections now."""


class Giving:
    """Waits for a new version; at most one at a time."""

    def __init__(
        self,
        listener: socket.socket,
        selector: selectors.BaseSelector,
        host: Host,
        on_step: OnStep | None = None,
    ) -> None:
        self._listener = listener
        self._selector = selector
        self._host = host
        self._on_step = on_step
        self._state = Old.ALONE
        self._other: Channel | None = None
        self._pid = 0
        self._pidfd = -1
        self._ends: list[int] = []  # of the relay workers' channels
        self._token = -1
        self._frozen: set[Slot] = set()
        self._deadline = float("inf")
        self._reason = ""
        self._failed: tuple[int, float] | None = None  # its pidfd, and when it is killed
        listener.setblocking(False)
        selector.register(listener, selectors.EVENT_READ, self._on_connect)

    def tend(self, now: float) -> None:
        """To be called when `next_due` has come."""
        if now >= self._deadline:
            self._lose(f"it did not answer in time ({self._state.name.lower()})")
        if self._failed is not None and now >= self._failed[1]:
            self._kill_failed()

    def next_due(self) -> float:
        return self._deadline if self._failed is None else min(self._deadline, self._failed[1])

    def close(self) -> None:
        """Steering ends: hand over nothing any more.

        A new version that has the token already has the connections: `Host.leave` is called then.
        """
        self._lose("steering is being stopped")
        if self._state is Old.BEATEN and self._other is not None:
            _wait_for(self._other.fileno(), _BEATEN)
            self._on_message(0, 0.0)
            self._lose("steering is being stopped")
        self._kill_failed()
        self._selector.unregister(self._listener)
        self._listener.close()

    # --- what happens

    def _on_connect(self, _events: int, _now: float) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return
        pid, user = peer(connection)
        other, refusal = Channel(connection), None
        if user != os.geteuid():
            refusal = f"it runs as user {user}, and this one as {os.geteuid()}"
        elif self._other is not None:
            refusal = "another one is taking over"
        try:
            pidfd = os.pidfd_open(pid) if refusal is None else -1
        except OSError as error:
            refusal = f"its process {pid} cannot be seen: {error.strerror}"
        if refusal is not None:
            self._refuse(other, refusal)
            return
        self._other, self._pid, self._pidfd = other, pid, pidfd
        self._deadline = time.monotonic() + _BRIEF
        self._selector.register(other, selectors.EVENT_READ, self._on_message)

    def _on_message(self, _events: int, _now: float) -> None:
        while self._other is not None:
            try:
                message, descriptors = self._other.receive()
            except TimeoutError:
                return
            except Closed:
                self._lose("it has ended")
                return
            except OSError as error:
                self._lose(str(error))
                return
            self._hear(message, descriptors)

    def _hear(self, message: Message, descriptors: list[int]) -> None:
        try:
            what = Say(message["type"])
        except (KeyError, ValueError):
            what = Say.FAILED
        close_all(self._ends)
        self._ends = descriptors
        if what is Say.HELLO and self._state is Old.ALONE:
            try:
                refusal = self._unfit(message)
            except TypeError as error:
                refusal = f"what it says of itself is not understood: {error}"
            if refusal is not None and self._other is not None:
                other = self._other
                self._forget()
                self._refuse(other, refusal)
                return
        if what is Say.FAILED:
            self._lose(str(message.get("reason", "it does not say why")))
        elif (self._state, what) not in OLD and self._state is not Old.BEATEN:
            self._lose(f"it said {what} out of turn")
        else:
            self._feed(what)

    def on_slot(self, slot: Slot, message: Message) -> None:
        """A relay worker has got to a step of the handover, or has ended."""
        if self._state in (Old.ALONE, Old.GONE):
            return
        if message["step"] == "frozen":
            self._frozen.add(slot)
            if self._frozen >= set(self._host.slots):
                self._feed(Event.FROZEN)
        else:
            self._lose(str(message.get("reason", "")))

    def _lose(self, reason: str) -> None:
        if self._state is Old.ALONE:
            self._forget()
        elif self._state is not Old.GONE:
            self._reason = self._reason or reason
            self._feed(Event.LOST)

    # --- what is done

    def _feed(self, what: Input) -> None:
        before = self._state
        reached, actions = step_old(before, what)
        self._state = reached
        self._wait(before)
        for action in actions:
            try:
                if self._on_step is not None:
                    self._on_step(f"old-{action.name}")
                self._do(action)
            except OSError as error:
                self._lose(str(error))
                return
        if reached is Old.ALONE:  # an action may have led further
            self._end()

    def _wait(self, before: Old) -> None:
        """Until when this state may last."""
        if self._state is before:
            return
        if self._state in _WAITS:
            self._deadline = time.monotonic() + _WAITS[self._state]
        elif self._state is Old.BEATEN:
            self._deadline = time.monotonic() + _BEATEN
        elif self._state in (Old.ALONE, Old.GONE):
            self._deadline = float("inf")

    def _do(self, action: Action) -> None:
        host, slots = self._host, self._host.slots
        match action:
            case Say.WELCOME:
                message = {"workers": len(slots), "watchdog": host.watchdog}
                self._say(action, message, (host.control.fileno(), self._listener.fileno()))
            case Do.OFFER:
                for slot in slots:
                    slot.on_step = self.on_slot
            case Say.STATE:
                self._state_of(host.offer())
            case Do.SHARE:
                if len(self._ends) != len(slots):
                    raise OSError("it has another number of relay workers")
                for slot, end in zip(slots, self._ends, strict=True):
                    slot.say({"type": "share"}, (end,))
                close_all(self._ends)
                self._ends = []
            case Do.FREEZE:
                self._token = make_token()
                for slot in slots:
                    slot.say({"type": "freeze", "deadline": self._deadline}, (self._token,))
            case Say.FROZEN:
                counters = json.dumps([slot.counters() for slot in slots]).encode()
                self._with_memory(action, counters, (self._token,), deadline=self._deadline)
            case Say.COMMIT:
                self._say(action)
            case Do.CLAIM:
                self._feed(Event.CLAIMED if claim(self._token) else Event.BEATEN)
            case Do.FENCE:
                self._fence()
            case Do.LEAVE:
                for slot in slots:
                    slot.leave()
                host.leave(self._pid)

    def _state_of(self, state: dict[str, Any]) -> None:
        """Send what is to be served, and the listeners of each relay worker."""
        listeners = [
            (row, listen, listener.fileno())
            for row, slot in enumerate(self._host.slots)
            for listen, listener in slot.listeners.items()
        ]
        self._with_memory(Say.STATE, json.dumps(state).encode(), (), listeners=len(listeners))
        for at in range(0, len(listeners), MOST_DESCRIPTORS):
            some = listeners[at : at + MOST_DESCRIPTORS]
            names = [[row, listen] for row, listen, _ in some]
            self._say(Say.STATE, {"names": names}, [fd for _, _, fd in some])

    def _with_memory(self, what: Say, data: bytes, more: Sequence[int], **said: object) -> None:
        memory = seal(data)
        try:
            self._say(what, said, (memory, *more))
        finally:
            os.close(memory)

    def _say(self, what: Say, message: Message | None = None, fds: Sequence[int] = ()) -> None:
        if self._other is not None:
            deadline = time.monotonic() + _BRIEF
            self._other.send({"type": what, **(message or {})}, fds, deadline)

    def _fence(self) -> None:
        """The new one has the token: make sure that it is dead, and see whether it had begun."""
        # It is stopped first: one that begins at this very moment is to be found here, not killed.
        _signal(self._pidfd, signal.SIGSTOP)
        until = time.monotonic() + _STOPS
        while not is_stopped(self._pid) and time.monotonic() < until:
            time.sleep(0.001)
        owned = self._said_owned()
        if owned:
            _signal(self._pidfd, signal.SIGCONT)
        else:
            _signal(self._pidfd, signal.SIGKILL)
            _wait_for(self._pidfd, _DEATH)
            owned = self._said_owned()
        self._feed(Say.OWNED if owned else Event.UNOWNED)

    def _said_owned(self) -> bool:
        while self._other is not None:
            try:
                message, descriptors = self._other.receive()
            except OSError:
                break
            close_all(descriptors)
            if message.get("type") == Say.OWNED:
                return True
        return False

    def _end(self) -> None:
        """It has failed, and this version goes on."""
        for slot in self._host.slots:
            slot.on_step = None
            if slot.process is not None:
                slot.say({"type": "keep"})
        logger.error("a new version could not take over: %s; this one goes on", self._reason)
        # As long as it lives it has copies of users' connections, whose ends they would not see.
        self._kill_failed()
        self._failed = self._pidfd, time.monotonic() + _LAST_WORDS
        self._pidfd = -1
        other, reason = self._other, self._reason
        self._forget()
        if other is not None:
            self._refuse(other, reason)
        self._host.keep()

    def _kill_failed(self) -> None:
        if self._failed is not None:
            pidfd, self._failed = self._failed[0], None
            _signal(pidfd, signal.SIGKILL)
            os.close(pidfd)

    def _forget(self) -> None:
        if self._other is not None and self._other.fileno() in self._selector.get_map():
            self._selector.unregister(self._other)
        close_all([fd for fd in (*self._ends, self._pidfd, self._token) if fd >= 0])
        self._ends, self._pidfd, self._token = [], -1, -1
        self._other, self._reason, self._deadline = None, "", float("inf")
        self._frozen.clear()

    def _refuse(self, other: Channel, reason: str) -> None:
        """Tell why not, and close."""
        with contextlib.suppress(OSError):  # else it is gone, and knows
            other.send({"type": Say.FAILED, "reason": reason})
        other.close()

    def _unfit(self, hello: Message) -> str | None:
        """Why nothing is begun."""
        slots = self._host.slots
        known = hello.get("formats")
        if not isinstance(known, list) or record.FORMAT not in known:
            return f"it reads states of formats {known}, and this one writes {record.FORMAT}"
        if missing := record.NEEDS - set(hello.get("knows", ())):
            return f"it does not know what the states here need: {', '.join(sorted(missing))}"
        most = max(slot.live for slot in slots) * 2 + len(slots[0].listeners) + _SPARE
        if hello.get("files", 0) < most:
            return (
                f"it may have {hello.get('files', 0)} files open, and a relay worker has {most};"
                " raise its limit (LimitNOFILE= of the unit)"
            )
        return self._host.unfit()


def _signal(pidfd: int, number: signal.Signals) -> None:
    """To a process that may have ended."""
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, number)


def _wait_for(fd: int, seconds: float) -> None:
    """Until something can be read there, or that time has passed."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    poll.poll(seconds * 1000)
