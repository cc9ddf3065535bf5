"""`edgenode lab`: the small internet, and the scenes that are played on it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from edgenode.cli.options import EXIT_FAILED, AsJson, console, errors, fail, show

if TYPE_CHECKING:
    from edgenode.lab import Lab

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_help_panel="Rehearsing",
    help="""Build a small internet on this machine, and rehearse on it.

Cities, transit routers, edges, worker regions and users are network namespaces with real BIRD,
real WireGuard and real proxies in them. Nothing of the machine's own network is touched.
Needs root.
""",
)

Name = Annotated[str, typer.Option("--name", help="The lab's name, at most 6 characters.")]
Delays = Annotated[
    Path | None,
    typer.Option(
        "--delays",
        metavar="FILE",
        help="Round-trips between the cities instead of the built-in ones "
        "(`edgenode lab delays` prints those). Who is nearest follows from them.",
    ),
]


@contextmanager
def _sentences() -> Iterator[None]:
    """What goes wrong in a lab is one sentence and status 1; Ctrl-C cleans up and is status 130."""
    from edgenode.lab import LabError

    try:
        yield
    except LabError as error:
        fail(str(error))
    except KeyboardInterrupt:
        errors.print("edgenode: interrupted; the lab is removed")
        raise typer.Exit(130) from None


def _need_root() -> None:
    if os.geteuid() != 0:
        fail("the lab needs root: it makes network namespaces")


def _lab(name: str, delays: Path | None) -> Lab:
    from edgenode.lab import Lab, plan
    from edgenode.lab import delays as tables

    _need_root()
    return Lab(name, plan(tables.load(delays) if delays else tables.built_in()))


@app.command()
def up(name: Name = "demo", delays: Delays = None) -> None:
    """Build a lab and leave it running."""
    with _sentences(), _lab(name, delays) as lab:
        lab.up(lambda text: console.print(f"… {text}", markup=False))
        lab.keep()
        _look_around(lab)


@app.command()
def down(name: Name = "demo") -> None:
    """Remove a lab, or what is left of one."""
    from edgenode.lab import Lab

    _need_root()
    with _sentences():
        Lab(name).down()


@app.command(name="list")
def list_labs(as_json: AsJson = False) -> None:
    """The labs that are on this machine, and the scenarios that can be run."""
    from edgenode.lab import state
    from edgenode.lab.names import NETNS_ROOT
    from edgenode.lab.scenes import SCENES

    labs = state.known(NETNS_ROOT)
    scenarios = {"demo": "all of them, one after the other"}
    scenarios |= {scene.name: scene.title for scene in SCENES}

    def human() -> None:
        console.print(f"labs: {', '.join(labs) or 'none'}", markup=False)
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("SCENARIO")
        table.add_column("WHAT IT SHOWS")
        for scenario in scenarios.items():
            table.add_row(*scenario)
        console.print(table)

    show({"labs": labs, "scenarios": scenarios}, as_json, human)


@app.command(name="delays")
def print_delays() -> None:
    """Print the built-in table of round-trips, to be edited for `--delays`."""
    from edgenode.lab.delays import built_in_text

    typer.echo(built_in_text(), nl=False)


@app.command()
def run(
    scenario: Annotated[str, typer.Argument(help="`demo`, or a scene: see `edgenode lab list`.")],
    name: Name = "demo",
    delays: Delays = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write all figures there.")
    ] = None,
    captures: Annotated[
        Path | None,
        typer.Option(
            "--captures",
            metavar="DIR",
            help="Keep the captures (pcap) of the transits' BGP and of the users, and `marks.json` "
            "with the moments that figures are counted from.",
        ),
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the lab running, and say how to look around.")
    ] = False,
) -> None:
    """Build a lab, play a scenario on it, and remove it.

    Exit status 0 only if every scene showed what it must. On Ctrl-C, and after a crash too, every
    namespace and process of the lab goes.
    """
    from edgenode.lab.scenes import SCENES
    from edgenode.lab.scenes import run as scenes

    with _sentences():
        chosen = SCENES if scenario == "demo" else (scenes.scene_named(scenario),)
        lab = _lab(name, delays)
        if json_file:
            scenes.write_json({}, json_file)  # see now, not after the last scene
        outcomes = scenes.run(lab, chosen, console, captures=captures, keep=keep)
        console.print()
        console.print(scenes.summary(outcomes))
        if json_file:
            scenes.write_json(scenes.as_json(outcomes), json_file)
        if keep:
            _look_around(lab)
    if not all(outcome.passed for outcome in outcomes.values()):
        raise typer.Exit(EXIT_FAILED)


def _look_around(lab: Lab) -> None:
    from edgenode.lab.names import tunnel_device

    edge, user = lab.topology.edges[0].name, lab.topology.users[0].name
    transit, device = lab.transit_of(edge), tunnel_device(lab.name, edge)
    config = lab.directory(edge) / "edgenode.toml"
    web = lab.topology.groups[0].addresses[0]
    # It need not be on the PATH: a checkout has it in its virtual environment.
    edgenode = sys.argv[0] if sys.argv[0].endswith("edgenode") else "edgenode"
    console.print()
    console.print("The lab runs. To look around:")
    for command in (
        f"{edgenode} --config {config} status",
        f"ip netns exec {lab.namespace(user)} curl http://{web}/",
        f"birdc -s {lab.directory(transit)}/bird.ctl show route all",
        f"ip netns exec {lab.namespace(edge)} wg show {device}",
        f"ls {lab.directory(edge)}/*.log",
        f"{edgenode} lab down --name {lab.name}",
    ):
        console.print(f"  {command}", markup=False)
