"""What the names of endpoints stand for, and when they are asked for again. Pure.

WireGuard knows addresses only, and never asks a name again. A name may stand for several
addresses: the one that was chosen stays while the name has it and the peer lives there; a peer that
does not is looked for at the next one, which also is how it is found at its IPv6 or IPv4 address.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, replace

from edgenode.config import Config
from edgenode.config.networks import Holders, unusable
from edgenode.config.values import Address, Endpoint, NamedEndpoint

EVERY = 60.0
"""Seconds until a name is asked for again while its peer lives."""
SOON = 15.0
"""Seconds while its peer does not, or the resolver did not answer. WireGuard tries a handshake
every 5 s, so an address gets three of them before the next one is chosen."""

Refuse = Callable[[Address], str | None]
"""Why an address can be no endpoint; None: it can."""


@dataclass(frozen=True)
class Answer:
    """What is known of one peer's name."""

    name: NamedEndpoint
    chosen: Endpoint | None = None
    asked_at: float | None = None
    """Monotonic."""
    problem: str = ""


class Names:
    """By the peers' names. Times are monotonic."""

    def __init__(self, names: Mapping[str, NamedEndpoint], refuse: Refuse) -> None:
        self._answers = {peer: Answer(name) for peer, name in names.items()}
        self._refuse = refuse

    def take_over(self, before: Names) -> None:
        """What the names before stood for, where a peer still has the same."""
        for peer, answer in before._answers.items():
            mine = self._answers.get(peer)
            if mine is not None and mine.name == answer.name:
                refused = answer.chosen is not None and self._refuse(answer.chosen.host)
                self._answers[peer] = mine if refused else answer

    @property
    def endpoints(self) -> dict[str, Endpoint]:
        """What the names stand for, as far as that is known."""
        return {p: a.chosen for p, a in self._answers.items() if a.chosen is not None}

    @property
    def problems(self) -> dict[str, str]:
        """Names of which nothing new is known, as sentences."""
        return {peer: a.problem for peer, a in self._answers.items() if a.problem}

    def due(self, now: float, dead: Container[str]) -> list[tuple[str, NamedEndpoint]]:
        """The peers whose names are to be asked for now; `dead` are those without a session."""
        return [
            (peer, answer.name)
            for peer, answer in self._answers.items()
            if answer.asked_at is None
            or now - answer.asked_at >= (SOON if peer in dead or answer.problem else EVERY)
        ]

    def answered(self, peer: str, found: Sequence[Address], now: float, dead: bool) -> None:
        """The resolver's answer, the best address first."""
        answer = self._answers[peer]
        refused = {host: why for host in found if (why := self._refuse(host))}
        usable = [Endpoint(host, answer.name.port) for host in found if host not in refused]
        if not usable:
            told = "; ".join(f"{host} {why}" for host, why in refused.items()) or "no address"
            self.failed(peer, told, now)
            return
        chosen = answer.chosen
        if chosen not in usable:
            chosen = usable[0]
        elif dead:
            chosen = usable[(usable.index(chosen) + 1) % len(usable)]
        self._answers[peer] = Answer(answer.name, chosen, now)

    def failed(self, peer: str, why: str, now: float) -> None:
        """The resolver has nothing: what is known stays."""
        answer = self._answers[peer]
        kept = f"; {answer.chosen} is kept" if answer.chosen else ""
        problem = f"{answer.name.name} cannot be resolved: {why}{kept}"
        self._answers[peer] = replace(answer, asked_at=now, problem=problem)


def names_of(config: Config) -> Names:
    """The names in a configuration with a mesh."""
    peers = config.mesh.peers if config.mesh else ()
    names = {p.name: p.endpoint for p in peers if isinstance(p.endpoint, NamedEndpoint)}
    return Names(names, _refuse(config))


def _refuse(config: Config) -> Refuse:
    """As the rules of the configuration have it for endpoints that are written as addresses."""
    peers = config.mesh.peers if config.mesh else ()
    mesh = Holders((("allowed",), network) for peer in peers for network in peer.allowed)
    announced = Holders(
        (("prefix",), prefix) for group in config.groups for prefix in group.prefixes
    )
    own = config.mesh.addresses if config.mesh else ()

    def refuse(address: Address) -> str | None:
        if held := mesh.of(address):
            return f"lies in the mesh ({held[1]}), and the tunnel would run through itself"
        if held := announced.of(address):
            return f"lies in the anycast prefix {held[1]}"
        if address in own:
            return "is our own mesh address"
        return f"is no host's: {why}" if (why := unusable(address)) else None

    return refuse
