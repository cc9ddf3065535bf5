"""One path: which echoes to send when, and what came of them. Pure; monotonic seconds, bytes.

Echoes go out in rounds. All of a round are sent at once and it ends with the last answer or the
time-out, so that what vanishes is always seen beside what passes. An answer that comes after the
end of its round still proves the path, and says nothing of sizes.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from edgenode.config.values import Address
from edgenode.mesh.routes import IPV6_MIN_MTU
from edgenode.paths.arrivals import Arrivals
from edgenode.paths.search import Search
from edgenode.paths.verdict import Facts
from edgenode.regions.rtt import Rtt, smooth

SMALL = 100
"""Bytes of an IP packet that passes wherever anything does."""
SILENT = 3
"""Rounds without an answer, after which a path is silent. One answer, and it is not: both ways are
proven, and it takes as many rounds again to doubt them."""
VANISHED = 2
"""Full-size echoes in a row that were not answered beside small ones: the search begins."""
SEARCHES = 3
"""In a row that find no size of use, or none for IPv6, before that is believed."""
WINDOW = 20
"""Rounds of which the share of loss is told."""
LOSSY, LOSSY_NO_MORE = 2, 1
"""Lost echoes among these, of which more make the path lossy, and of which more keep it so."""
GIVEN_UP = 12
"""Rounds without an answer, after which there is no hurry any more."""
AGAIN = 0.2
"""Seconds between two rounds where something is in doubt."""
LONGEST = 3.0
"""Seconds that a round lasts at most. WireGuard keeps what is sent before a handshake is done, and
sends it then: an answer that took longer says nothing about the distance."""


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
        self._late: set[Address] = set()
        """Who answered a small echo of an earlier round since the last one ended."""
        self._began = self._sent_at = now
        self._rtt: Rtt | None = None
        self._ever = False
        self._lossy = False
        self._recent: deque[bool] = deque(maxlen=WINDOW)
        self._misses = 0
        self._missing_since = now
        self._silent: float | None = None
        self._silent_known = now
        self._full_at = -math.inf
        self._vanished = 0
        self._search: Search | None = None
        self._grave = 0
        """What was found last: 2: no size, 1: none for IPv6."""
        self._suspected = (0, 0)
        """What searches found since that is worse, and how many of them in a row."""
        self._largest: dict[Address, int] = {}
        """The largest echo that each has ever answered."""
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
        """What the routes are to have; None: the device's. Only of worth when `sized`.

        The device's, too, where no echo of a useful size was ever answered: they may be filtered.
        """
        if self._size == 0 and self._answers_large() < self._min_mtu:
            return None
        return max(self._size, self._min_mtu) if self._size is not None else None

    def facts(
        self,
        workers: float | None,
        keepalive: float,
        stale: bool,
        probe: float = 0.0,
        preshared: bool = False,
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
            large=self._answers_large(),
            workers=workers,
            data=self.arrivals.data,
            response=self.arrivals.response,
            call=self.arrivals.call,
            calls=self.arrivals.calls,
            keepalive=keepalive,
            preshared=preshared,
            stale=stale,
            began=self._began,
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
        self.next_at = now + self._patience()
        return self._asked

    def abandon(self, now: float) -> None:
        """The round could not be sent, or its answers cannot come: its silence says nothing."""
        if self._silent is None:
            self._misses = 0
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
        if ask.address not in self.targets:
            return
        self._note_size(ask)
        if ask.size == SMALL:
            self._ever = True
            self._end_of_silence()
            if rtt <= LONGEST:
                self._rtt = smooth(self._rtt, rtt)
        if ask in self._waiting:
            self._waiting.remove(ask)
            self._answered.add(ask)
            if not self._waiting:
                self.next_at = now
        elif ask.size == SMALL:
            self._late.add(ask.address)
            if not self._asked and self._misses:
                self.next_at = now  # it is back: no need to rest

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
        in_time = {ask.address for ask in self._answered if ask.size == SMALL}
        heard, self._late = in_time | self._late, set()
        self._recent.append(bool(heard))
        if heard:
            if self._seeks() and self._current not in heard:
                self._current = self._prefer(heard)
            self._misses = 0
            sizes = [ask.size for ask in asked if ask.size != SMALL]
            if in_time and sizes:
                self._learn(sizes, now)
        else:
            if self._misses == 0:
                self._missing_since = self._sent_at
            self._misses += 1
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

    def _prefer(self, heard: set[Address]) -> Address | None:
        """Who is to be kept to: one that is known to answer large echoes, if there is one."""
        usable = [address for address in self.targets if address in heard]
        return max(usable, key=lambda address: self._largest.get(address, 0), default=None)

    def _note_size(self, ask: Ask) -> None:
        if ask.size > self._largest.get(ask.address, 0):
            known = {**self._largest, ask.address: ask.size}
            self._largest = {a: size for a, size in known.items() if a in self.targets}

    def _answers_large(self) -> int:
        """The largest echo that who is asked has ever answered."""
        return self._largest.get(self._current, 0) if self._current is not None else 0

    def _patience(self) -> float:
        """Seconds: an answer from far, or through a queue, is not lost."""
        slowest = max(self._rtt.recent) if self._rtt else 0.0
        return max(self._times.timeout, min(LONGEST, 2 * slowest))

    def _end_of_silence(self) -> None:
        if self._silent is not None:
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
        grave = 2 if passes is None else int(passes < IPV6_MIN_MTU)
        if grave > self._grave:
            # It makes the path bad: that is not said for a few losses by chance.
            suspected, times = self._suspected
            self._suspected = (grave, times + 1 if suspected == grave else 1)
            if self._suspected[1] < SEARCHES:
                self._begin_search()
                return
        self._grave, self._suspected = grave, (0, 0)
        self._sized = True
        self._size = None if passes == self._mtu else passes or 0
        if self._size is not None:
            # A path of no use is looked at again at once when small packets are.
            wait = self._times.interval if grave else self._times.grow_interval
            self._grow_at = now + wait
