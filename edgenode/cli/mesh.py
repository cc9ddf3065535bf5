"""`edgenode mesh`: the tunnels as control sees them, and the mesh without control."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from edgenode import durable
from edgenode.cli import meshkeys
from edgenode.cli.known import know
from edgenode.cli.meshtable import print_mesh
from edgenode.cli.options import EXIT_USAGE, AsJson, ConfigPath, console, fail, load_config, show
from edgenode.cli.regions import LINES, Limit

PATIENCE = 5.0
"""Seconds for all names together."""

app = typer.Typer(name="mesh", rich_markup_mode="markdown")


def add_to(parent: typer.Typer) -> None:
    """Register the subcommands."""
    meshkeys.add_to(app)
    parent.add_typer(app, rich_help_panel="Looking")


@app.callback(invoke_without_command=True)
def mesh(
    context: typer.Context, limit: Limit = LINES, config: ConfigPath = None, as_json: AsJson = False
) -> None:
    """The tunnels to the other nodes: round-trip, loss, MTU, handshakes, and what is wrong.

    Without a subcommand, a table of what control has measured. STATE is *good*; *lossy*;
    *black-hole* (packets of a useful size vanish, and did not before); *large-lost* (no large echo
    was ever answered: they are filtered, or it is a black hole); *one-way* (and which way is
    broken, as far as can be told); *dead*; *stale* (no session, though there should be one);
    *echo-filtered* (no echo is answered, but workers behind it are reached); *unknown*; or *up*
    where paths are not measured. MTU is what the device is configured for, and the largest packet
    that is known to pass. Workers behind a path that is bad get no connections.

    Where a terminal is narrow, the least important columns are left out (RX / TX first); in a pipe
    all are there. With `--json` there is everything, `--limit` or not.

    Exit status: 0; 1 where control does not answer or there is no mesh.

    The subcommands make and mend what the table shows. Control keeps the mesh in line with the
    configuration; `up` and `key` are for the time before it runs, and do the same by the same code.
    `next-key` and `switch-key` change the node's key without losing a connection.

    Examples:

        edgenode mesh

        edgenode mesh --json | jq '.peers[] | select(.bad) | {name, state, reason}'
    """
    if context.invoked_subcommand is None:
        print_mesh(know(context, config), limit, as_json)


@app.command()
def up(context: typer.Context, config: ConfigPath = None, as_json: AsJson = False) -> None:
    """Make the device, its addresses, peers and routes as the configuration has them.

    The private key is made when there is none. What is right already is not touched, and nothing
    is taken down when this command ends: tunnels stand without any process of edgenode. Needs
    CAP_NET_ADMIN, and a kernel with WireGuard or a running `wireguard-go -f DEVICE`. Names of
    endpoints that no resolver knows within 5 s are left to control, which asks again.

    Exit status: 0 also where the configuration has no `[mesh]`.
    """
    loaded = load_config(context, config, check_secrets=False)
    from edgenode.mesh import Mesh, MeshError
    from edgenode.mesh.names import names_of
    from edgenode.mesh.resolver import Resolver

    if loaded.mesh is None:
        why = "There is no [mesh] to bring up."
        show({"changes": 0}, as_json, lambda: console.print(why, markup=False))
        return
    mesh = Mesh(loaded.mesh, loaded.private_key_file)
    resolver = Resolver(names_of(loaded))
    asyncio.run(resolver.once(PATIENCE))
    try:
        changes = len(mesh.ensure(resolver.names.endpoints))
        key = mesh.public_key
    except MeshError as error:
        fail(str(error))
    device = loaded.mesh.device

    def human() -> None:
        done = f"{changes} changes made" if changes else "nothing to change"
        console.print(f"{device} is up, {done}; public key {key}", markup=False)

    show({"device": device, "public_key": key, "changes": changes}, as_json, human)


@app.command()
def key(
    context: typer.Context,
    config: ConfigPath = None,
    private_key_file: Annotated[
        Path | None,
        typer.Option(
            "--private-key-file",
            metavar="FILE",
            help="Without a configuration: where the private key is, or is to be made.",
        ),
    ] = None,
    public_key_file: Annotated[
        Path | None,
        typer.Option(
            "--public-key-file",
            metavar="FILE",
            help="Write the public key there, too, readable by all.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print the node's public key. Its private key (mode 0600) is made when there is none.

    The other nodes' configurations need it; the private key never leaves the node.
    A key that root makes belongs to the owner of its directory, so that control can read it.
    """
    from edgenode.mesh import MeshError
    from edgenode.mesh.keys import load_or_create

    if private_key_file is None:
        private_key_file = load_config(context, config, check_secrets=False).private_key_file
    elif config is not None:
        fail("--private-key-file goes without --config", EXIT_USAGE)
    try:
        public = load_or_create(private_key_file).public
    except MeshError as error:
        fail(str(error))
    if public_key_file is not None:
        try:
            durable.replace(public_key_file, public + "\n", 0o644)
        except OSError as error:
            fail(f"{public_key_file} cannot be written: {error.strerror}")
    show({"public_key": public}, as_json, lambda: console.print(public, markup=False))
