"""Scenes: what edgenode must show on the lab, played and measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

from edgenode.lab.scenes import control_killed, drain, nearest, proxy_killed, region_cut
from edgenode.lab.scenes.outcome import Outcome
from edgenode.lab.scenes.stage import Stage


@dataclass(frozen=True)
class Scene:
    """A scene by its name, and the function that plays it."""

    name: str
    title: str
    play: Callable[[Stage, Outcome], None]


def _scene(module: ModuleType) -> Scene:
    return Scene(module.NAME, module.TITLE, module.play)


SCENES = tuple(map(_scene, (nearest, proxy_killed, region_cut, control_killed, drain)))
"""In the order of the demo."""
