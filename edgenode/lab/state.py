"""What a lab remembers in its run directory, so that another process can look after it."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edgenode.lab.delays import Delays
from edgenode.lab.errors import LabError
from edgenode.lab.names import RUN_ROOT, identify
from edgenode.lab.nodes.edge import Settings
from edgenode.lab.process import Command
from edgenode.lab.topology import Layout, Topology, plan


@dataclass
class Daemon:
    """A daemon of a node: how it is started, and the process that was started last."""

    command: Command
    session: int | None = None


@dataclass
class State:
    """A lab, written down."""

    topology: Topology
    settings: Settings
    netem: bool = False
    up: bool = False
    daemons: dict[str, dict[str, Daemon]] = field(default_factory=dict)

    def to_json(self) -> str:
        delays = self.topology.delays
        document = {
            "delays": {
                "source": delays.source,
                "rtt": {f"{one}-{other}": rtt for (one, other), rtt in delays.table.items()},
            },
            "layout": asdict(self.topology.layout),
            "settings": asdict(self.settings),
            "netem": self.netem,
            "up": self.up,
            "daemons": {
                node: {name: _daemon(daemon) for name, daemon in daemons.items()}
                for node, daemons in self.daemons.items()
            },
        }
        return json.dumps(document, indent=1)

    @classmethod
    def from_json(cls, text: str) -> State:
        """Raises ValueError, KeyError or TypeError for a text that `to_json` did not write."""
        document = json.loads(text)
        rtt = {tuple(key.split("-")): value for key, value in document["delays"]["rtt"].items()}
        delays = Delays(document["delays"]["source"], rtt)
        layout: dict[str, Any] = {
            key: tuple(tuple(v) if isinstance(v, list) else v for v in value)
            if isinstance(value, list)
            else value
            for key, value in document["layout"].items()
        }
        return cls(
            topology=plan(delays, Layout(**layout)),
            settings=Settings(**document["settings"]),
            netem=document["netem"],
            up=document["up"],
            daemons={
                node: {name: _parse(value) for name, value in daemons.items()}
                for node, daemons in document["daemons"].items()
            },
        )

    def save(self, directory: Path) -> None:
        """Write it, whole or not at all."""
        draft = directory / "state.json.new"
        draft.write_text(self.to_json(), encoding="utf-8")
        os.replace(draft, directory / "state.json")


def _daemon(daemon: Daemon) -> dict[str, Any]:
    return {**asdict(daemon), "command": {**asdict(daemon.command), "log": str(daemon.command.log)}}


def _parse(value: dict[str, Any]) -> Daemon:
    command = value["command"]
    return Daemon(
        Command(
            tuple(command["argv"]),
            command["namespace"],
            command["mark"],
            Path(command["log"]),
            command["environment"],
        ),
        value["session"],
    )


def load(name: str, root: Path = RUN_ROOT) -> State:
    """What is written about a lab. Raises LabError when there is nothing, or nothing usable."""
    path = root / name / "state.json"
    try:
        return State.from_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LabError(f"there is no lab {name!r}: make one with `edgenode lab up`") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LabError(
            f"{path} cannot be used ({error!r}): remove the lab with `edgenode lab down`"
        ) from None


def known(netns: Path, root: Path = RUN_ROOT) -> list[str]:
    """The names of all labs of which something is there."""
    names = {path.parent.name for path in root.glob("*/state.json")}
    if netns.is_dir():
        found = (identify(entry.name) for entry in netns.iterdir())
        names |= {who.lab for who in found if who is not None}
    return sorted(names)
