"""`edgenode mesh next-key` and `switch-key`: the node's key is changed, and no connection lost."""

from __future__ import annotations

import asyncio
import signal
from typing import Annotated

import typer

from edgenode.cli.options import AsJson, ConfigPath, console, fail, load_config, show

PATIENCE = 10.0
"""Seconds: two handshakes, which WireGuard tries every 5 s."""


def add_to(mesh: typer.Typer) -> None:
    """Register the subcommands of `edgenode mesh`."""
    mesh.command("next-key")(next_key)
    mesh.command("switch-key")(switch_key)


def next_key(context: typer.Context, config: ConfigPath = None, as_json: AsJson = False) -> None:
    """Print the public key that this node will have next. It is made when there is none.

    The first step to change a node's key. Write it as `next_public_key` into this node's peer on
    all other nodes, apply that there, and then `edgenode mesh switch-key` here. The node goes on
    with its present key until then.
    """
    from edgenode.mesh import MeshError
    from edgenode.mesh.keychange import prepare

    loaded = load_config(context, config, check_secrets=False)
    try:
        public = prepare(loaded.private_key_file).public
    except MeshError as error:
        fail(str(error))
    show({"next_public_key": public}, as_json, lambda: console.print(public, markup=False))


def switch_key(
    context: typer.Context,
    back: Annotated[
        bool, typer.Option("--back", help="Take the last switch back: the former key again.")
    ] = False,
    keep: Annotated[
        bool,
        typer.Option("--keep", help="Keep the new key, whoever does not know it."),
    ] = False,
    wait: Annotated[
        float,
        typer.Option(
            "--wait", min=0.0, max=600.0, metavar="SECONDS", help="How long peers have to answer."
        ),
    ] = PATIENCE,
    config: ConfigPath = None,
    as_json: AsJson = False,
) -> None:
    """Switch to the next key, if all peers with a session know it: else it is taken back.

    Peers that have it as `next_public_key` go on with all their connections: about a second of
    packets is late. One that does not make a handshake with it within `--wait` seconds does not
    know it, or its control is down: the former key comes back then, and its sessions with it. So it
    does where the command is ended before. **Until then nothing passes between this node and a peer
    that does not know the key**: where none does, all its tunnels are off for `--wait` seconds.

    A running control takes the key up; without one, this command does all by itself. The former
    key lies beside the new one, as FILE.former, until the next switch. Needs CAP_NET_ADMIN.

    Exit status: 0; 1 where it failed or was taken back.

    Examples:

        edgenode mesh next-key

        edgenode mesh switch-key

        edgenode mesh switch-key --back
    """
    from edgenode.mesh import Mesh, MeshError
    from edgenode.mesh.keychange import change
    from edgenode.mesh.names import names_of
    from edgenode.mesh.resolver import Resolver

    loaded = load_config(context, config, check_secrets=False)
    if loaded.mesh is None:
        fail("there is no [mesh] in the configuration, and so no key to switch")
    path = loaded.private_key_file
    mesh = Mesh(loaded.mesh, path)
    resolver = Resolver(names_of(loaded))
    asyncio.run(resolver.once(5.0))
    for number in (signal.SIGHUP, signal.SIGTERM):  # a terminal that goes away takes it back, too
        signal.signal(number, signal.default_int_handler)
    try:
        found = change(mesh, path, resolver.names.endpoints, back=back, keep=keep, patience=wait)
    except MeshError as error:
        fail(str(error))
    silent = ", ".join(sorted(found.silent))
    if found.undone:
        fail(
            f"no handshake with the other key from {silent} within {wait:g} s: the key "
            f"{found.public_key} is in place again; see that they have the other one as "
            "next_public_key, and that their control runs"
        )

    def human() -> None:
        took = len(found.peers - found.silent)
        console.print(f"The key is {found.public_key} now; {took} peers took it.", markup=False)
        if silent:
            console.print(f"No handshake from {silent}.", markup=False)
        console.print(
            "Write it as public_key on the other nodes, and take next_public_key out there.",
            markup=False,
        )

    told = {"public_key": found.public_key, "took": sorted(found.peers - found.silent)}
    show({**told, "silent": sorted(found.silent)}, as_json, human)
