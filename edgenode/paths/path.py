"""One path: which echoes to send when, and what came of them. Pure; monotonic seconds, bytes.

Echoes go out in rounds. All of a round are sent at once and it ends with the last answer or the
time-out, so that what vanishes is always seen beside what passes.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from edgenode.config.values import Address
from edgenode.paths.arrivals import Arrivals
from edgenode.paths.search import Search
from edgenode.paths.verdict import Facts
from edgenode.regions.rtt import Rtt, smooth

SMALL = 100
"""Bytes of an IP packet that passes wherever anything does."""
SILENT = 3
"""Rounds without an answer, after which a path that answered is silent."""
BACK = 2
"""Rounds with one, after which it is not any more."""
VANISHED = 2
"""Full-size echoes in a row that were not answered beside small ones: the search begins."""
WINDOW = 20
"""Rounds of which the share of loss is told."""
LOSSY, LOSSY_NO_MORE = 2, 1
"""Lost echoes among these, of which more make the path lossy, and of which more keep it so."""
GIVEN_UP = 12
"""Rounds without an answer, after which there is no hurry any more."""
AGAIN = 0.2
"""Seconds between two rounds where something is in doubt."""


@dataclass(frozen=True)
class Times:
    interval: float
    full_interval: float
    timeout: float
    grow_interval: float


@dataclass(frozen=True)
class Ask:
    """One echo."""

    address: Address
    size: int


class Path:
    """`begin` gives the echoes of a round, `answer` takes what comes, `next_at` is when to call."""

    def __init__(
        self, peer: str, times: Times, mtu: int, min_mtu: int, now: float, phase: float = 0.0
    ) -> None:
        """`phase`: the share of an interval to wait at first, so that paths take turns."""
        self.peer = peer
        self.targets: tuple[Address, ...] = ()
        """Who is sent echoes: the first that answers is kept to."""
        self.hosts: frozenset[Address] = frozenset()
        """Those of them that are the peer itself."""
        self.next_at = now + phase * times.interval
        self.arrivals = Arrivals()
        self._times = times
        self._mtu = mtu
        self._min_mtu = min_mtu
        self._current: Address | None = None
        self._asked: tuple[Ask, ...] = ()
        """The echoes of this round; one may be among them twice."""
        self._waiting: set[Ask] = set()
        self._answered: set[Ask] = set()
        self._sent_at = now
        self._rtt: Rtt | None = None
        self._ever = False
        self._lossy = False
        self._recent: deque[bool] = deque(maxlen=WINDOW)
        self._misses = 0
        self._hits = 0
        self._missing_since = now
        self._silent: float | None = None
        self._silent_known = now
        self._full_at = -math.inf
        self._vanished = 0
        self._search: Search | None = None
        self._hopeless = False
        """The last search found no size."""
        self._size: int | None = None
        self._sized = False
        self._grow_at = math.inf

    # -- what is known ----------------------------------------------------------------------

    @property
    def rtt(self) -> float | None:
        """Seconds, smoothed."""
        return self._rtt.smoothed if self._rtt else None

    @property
    def loss(self) -> float | None:
        """The share of the latest echoes that were lost; None: none were sent."""
        return 1 - sum(self._recent) / len(self._recent) if self._recent else None

    @property
    def size(self) -> int | None:
        """As in Facts."""
        return self._size

    @property
    def sized(self) -> bool:
        """Whether it is known what size passes."""
        return self._sized

    @property
    def configured(self) -> int:
        """The device's MTU, as configured."""
        return self._mtu

    @property
    def proven(self) -> int | None:
        """The largest packet of which it is known that it passes both ways."""
        if not self._sized or self._size == 0:
            return None
        return self._mtu if self._size is None else self._size

    @property
    def mtu(self) -> int | None:
        """What the routes are to have; None: the device's. Only of worth when `sized`."""
        return max(self._size, self._min_mtu) if self._size is not None else None

    def facts(
        self, workers: float | None, keepalive: float, stale: bool, probe: float = 0.0
    ) -> Facts:
        """For `judge`; the arguments are what others know.

        `probe`: seconds in which workers that are asked at once have answered, or have not.
        """
        return Facts(
            peer=self.peer,
            asked=bool(self.targets),
            host=self._current in self.hosts,
            ever=self._ever,
            silent=self._silent,
            probed=self._silent_known + probe,
            lossy=self._lossy,
            mtu=self._mtu,
            size=self._size,
            min_mtu=self._min_mtu,
            workers=workers,
            data=self.arrivals.data,
            response=self.arrivals.response,
            calls=self.arrivals.calls,
            keepalive=keepalive,
            stale=stale,
        )

    @property
    def silent(self) -> bool:
        """Whether no echo is answered any more."""
        return self._silent is not None

    # -- rounds -----------------------------------------------------------------------------

    def begin(self, now: float) -> Sequence[Ask]:
        """End the round that is due, and begin the next: the echoes to send, maybe none yet."""
        if self._asked:
            self._end(now)
            if now < self.next_at:
                return ()
        if not self.targets:
            self.next_at = now + self._times.interval
            return ()
        self._asked = tuple(self._choose(now))
        self._waiting = set(self._asked)
        self._answered = set()
        self._sent_at = now
        self.next_at = now + self._times.timeout
        return self._asked

    def abandon(self, now: float) -> None:
        """The round could not be sent, or its answers cannot come: it says nothing."""
        self._asked = ()
        self._waiting.clear()
        self.next_at = now + self._times.timeout

    def unsent(self, ask: Ask, now: float) -> bool:
        """This node could not send an echo: that says nothing. Whether the round goes on."""
        self._asked = tuple(each for each in self._asked if each != ask)
        self._waiting.discard(ask)
        if ask.address == self._current:
            self._current = None  # others may be reached: all are asked
        if ask.size != SMALL or all(each.size != SMALL for each in self._asked):
            self.abandon(now)
        return bool(self._asked)

    def answer(self, ask: Ask, rtt: float, now: float) -> None:
        """An echo was answered after `rtt` seconds: a late one of a round before counts, too."""
        if ask not in self._waiting:
            return
        if ask.size == SMALL and self._seeks() and not self._heard():
            self._current = ask.address
        self._waiting.remove(ask)
        self._answered.add(ask)
        if ask.size == SMALL:
            self._rtt = smooth(self._rtt, rtt)
            self._ever = True
        if not self._waiting:
            self.next_at = now

    def _choose(self, now: float) -> list[Ask]:
        if self._seeks() or self._current is None:
            # No answer may be the fault of one host: all are asked, and who answers is kept to.
            return [Ask(address, SMALL) for address in self.targets]
        asks = [Ask(self._current, SMALL)]
        full = self._times.full_interval
        if self._search is None and now >= self._grow_at:
            self._begin_search()
        if self._search is not None:
            # Each twice: one lost by chance must not make the routes' MTU smaller than it need be.
            asks += [Ask(self._current, size) for size in self._search.sizes() for _ in range(2)]
        elif self._size != 0 and (now >= self._full_at + full or self._vanished):
            self._full_at = now
            asks.append(Ask(self._current, self._size or self._mtu))
        return asks

    def _end(self, now: float) -> None:
        asked, self._asked = self._asked, ()
        self._waiting.clear()
        heard = self._heard()
        self._recent.append(heard)
        if heard:
            self._hits += 1
            self._misses = 0
            self._end_of_silence()
            if sizes := [ask.size for ask in asked if ask.size != SMALL]:
                self._learn(sizes, now)
        else:
            if self._misses == 0:
                self._missing_since = self._sent_at
            self._misses += 1
            self._hits = 0
            if self._misses >= SILENT and self._silent is None:
                self._silent = self._missing_since
                self._silent_known = now
                self._rtt = None
        lost = self._recent.count(False)
        self._lossy = lost > (LOSSY_NO_MORE if self._lossy else LOSSY)
        self.next_at = now + (AGAIN if self._in_doubt() else self._rest(now))

    def _rest(self, now: float) -> float:
        return max(AGAIN, self._times.interval - (now - self._sent_at))

    def _in_doubt(self) -> bool:
        if self._misses:
            return self._misses < GIVEN_UP
        unsure = self._vanished > 0 or self._search is not None or not self._sized
        return self._silent is not None or unsure

    def _seeks(self) -> bool:
        """Whether all are asked, since who was asked so far does not answer."""
        return self._misses > 0 or self._current not in self.targets

    def _heard(self) -> bool:
        return any(ask.size == SMALL for ask in self._answered)

    def _end_of_silence(self) -> None:
        if self._silent is not None and self._hits >= BACK:
            self._silent = None
            self._recent.clear()
            # It may be another way now.
            if self._size is not None:
                self._grow_at = -math.inf

    def _learn(self, sizes: Sequence[int], now: float) -> None:
        """What of these sizes passed, beside small echoes that did."""
        passed = {ask.size for ask in self._answered}
        if self._search is not None:
            self._search = self._search.after(passed)
            if self._search.over:
                self._settle(self._search.passes, now)
        elif sizes[0] in passed:
            self._vanished = 0
            self._sized = True
        else:
            self._vanished += 1
            if self._vanished >= VANISHED:
                self._begin_search()

    def _begin_search(self) -> None:
        self._search = Search.begin(min(self._min_mtu, self._mtu), self._mtu)
        self._vanished = 0
        self._grow_at = math.inf

    def _settle(self, passes: int | None, now: float) -> None:
        self._search = None
        if passes is None and not self._hopeless:
            # It makes the path bad: that is not said for a few losses by chance.
            self._hopeless = True
            self._begin_search()
            return
        self._hopeless = passes is None
        self._sized = True
        self._size = None if passes == self._mtu else passes or 0
        if self._size is not None:
            # A path of no use is looked at again at once when small packets are.
            wait = self._times.grow_interval if self._size else self._times.interval
            self._grow_at = now + wait
