"""Playing scenes one after the other on a fresh lab, and what comes of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from edgenode.lab.errors import LabError
from edgenode.lab.instance import Lab
from edgenode.lab.scenes import SCENES, Scene
from edgenode.lab.scenes.narration import Narrator
from edgenode.lab.scenes.outcome import Outcome
from edgenode.lab.scenes.stage import Stage

RESTORE = 30.0
"""Seconds that the lab gets to be as before, between two scenes."""


def run(
    lab: Lab,
    scenes: Sequence[Scene],
    console: Console,
    *,
    captures: Path | None = None,
    keep: bool = False,
) -> dict[str, Outcome]:
    """Put the lab up, play, and take it down (or keep it). Raises LabError.

    Without `captures` they lie in the lab's own directory, and go with it.
    """
    narrator = Narrator(console)
    if captures:
        _make(captures)
    with lab:
        narrator.title("lab", _described(lab))
        with narrator.waiting("building the lab"):
            lab.up(narrator.say)
        stage = Stage(lab, narrator, captures or lab.run_directory / "captures")
        _make(stage.captures)
        with stage.capturing():
            outcomes = {scene.name: play(stage, scene) for scene in scenes}
        if keep:
            lab.keep()
    return outcomes


def _make(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LabError(f"{directory} cannot be made: {error.strerror}") from None


def play(stage: Stage, scene: Scene) -> Outcome:
    """One scene; what it raises is its failure."""
    outcome = Outcome()
    stage.narrator.title(scene.name, scene.title)
    if stage.until(stage.restored, RESTORE, "every edge announces everything") is None:
        outcome.error = "the lab did not come back from the scene before"
        return outcome
    try:
        scene.play(stage, outcome)
    except LabError as error:
        outcome.error = str(error)
        stage.narrator.say(f"[bold red]✗[/] {error}")
    return outcome


def _described(lab: Lab) -> str:
    topology = lab.topology
    return (
        f"{len(topology.edges)} edges, {len(topology.transits)} transits, "
        f"{len(topology.regions)} regions, users in {len(topology.users)} cities"
    )


def scene_named(name: str) -> Scene:
    """Raises LabError for a scene that there is not."""
    for scene in SCENES:
        if scene.name == name:
            return scene
    known = ", ".join(scene.name for scene in SCENES)
    raise LabError(f"there is no scenario {name!r}: there are demo (all of them), {known}")


def as_json(outcomes: dict[str, Outcome]) -> dict[str, Any]:
    """The demo's JSON document."""
    return {"scenes": {name: outcome.as_json() for name, outcome in outcomes.items()}}


def write_json(document: dict[str, Any], path: Path) -> None:
    """Raises LabError."""
    try:
        path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise LabError(f"{path} cannot be written: {error.strerror}") from None


def summary(outcomes: dict[str, Outcome]) -> Table:
    """The table at the end."""
    table = Table(title="summary", title_justify="left", header_style="bold")
    table.add_column("scene")
    table.add_column("passed")
    table.add_column("figures")
    for name, outcome in outcomes.items():
        figures = ", ".join(
            f"{key.removesuffix('_ms').replace('_', ' ')} {_figure(key, value)}"
            for key, value in outcome.figures.items()
            if not isinstance(value, dict)
        )
        if name == "nearest":
            figures = "each user, by IPv4 and IPv6, at the nearest edge and region"
        if outcome.error:
            figures = outcome.error
        elif outcome.failed:
            figures = "; ".join(claim.text for claim in outcome.failed)
        mark = "[green]yes[/]" if outcome.passed else "[bold red]NO[/]"
        table.add_row(name, mark, figures)
    return table


def _figure(key: str, value: Any) -> str:
    if value is None:
        return "?"
    return f"{value:.1f} ms" if key.endswith("_ms") else str(value)
