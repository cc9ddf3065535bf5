"""`edgenode render`."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated

import typer

from edgenode import places
from edgenode.cli.options import EXIT_USAGE, ConfigPath, console, fail, load_config
from edgenode.config import Config


class What(StrEnum):
    """What can be rendered."""

    BIRD = "bird"
    WIREGUARD = "wireguard"
    FIREWALL = "firewall"


def add_to(app: typer.Typer) -> None:
    """Register the subcommand."""
    app.command(rich_help_panel="Configuration")(render)


def render(
    context: typer.Context,
    what: Annotated[What, typer.Argument(metavar="bird|wireguard|firewall")],
    config: ConfigPath = None,
    write: Annotated[
        bool,
        typer.Option(
            "--write", help="bird: write the file that BIRD reads, and that of its secrets."
        ),
    ] = False,
) -> None:
    """Print the BIRD, WireGuard or nftables configuration that follows from ours, secrets redacted.

    BIRD's has every group disabled: nothing is announced until control says so. `--write` is for
    the first start, before BIRD runs; later control keeps the file.
    """
    loaded = load_config(context, config, check_secrets=write)
    if what is What.WIREGUARD:
        if write:
            fail("--write goes with bird alone: control configures WireGuard", EXIT_USAGE)
        if not loaded.mesh:
            fail("the configuration has no [mesh]", EXIT_USAGE)
        from edgenode.mesh.render import render as render_mesh

        sys.stdout.write(render_mesh(loaded.mesh, loaded.private_key_file))
        return
    if what is What.FIREWALL:
        if write:
            fail("--write goes with bird alone: see edgenode firewall apply", EXIT_USAGE)
        from edgenode.cli.firewall import write as write_firewall

        write_firewall(loaded)
        return
    from edgenode.bgp.render import render as render_bird

    if not write:
        sys.stdout.write(render_bird(loaded, {}))
        return
    _write_bird(loaded)
    console.print(f"written: {loaded.bgp.config}", markup=False)


def _write_bird(config: Config) -> None:
    """What BIRD would refuse is not written: then it starts with what it had before."""
    from edgenode.bgp import offline
    from edgenode.bgp.birdfiles import BirdFiles, read_includes, read_passwords
    from edgenode.bgp.files import FileError
    from edgenode.config.secrets import SecretError

    bird = offline.program()
    try:
        files = BirdFiles(
            config, read_passwords(config), read_includes(config), _degraded_towards(config)
        )
        if bird and (why := offline.refusal(config, files.passwords, files.includes, bird)):
            fail(why)
        files.write({}, offline.installed_version(bird))
    except (FileError, SecretError) as error:
        fail(str(error))


def _degraded_towards(config: Config) -> frozenset[tuple[str, str]]:
    """What operators want of groups towards single neighbors: a filter, so it goes into the file.

    What cannot be read is control's to complain of.
    """
    from edgenode.state import Intents, StateError

    try:
        stored = Intents(places.control_state(config.node.state_dir)).all()
    except StateError:
        return frozenset()
    return frozenset(intent.key for intent in stored.values() if intent.neighbor)
