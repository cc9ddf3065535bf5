"""`./run flash DISK --identity FILE`."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from edgenode.config.errors import ConfigError
from edgenode.flash.disk import Disk, look, refusal
from edgenode.flash.errors import FlashError
from edgenode.flash.identity import MOST, load_identity, packed
from edgenode.flash.image import Progress, check_sum, table_of
from edgenode.flash.table import room
from edgenode.flash.write import flash

_IMAGES = Path(__file__).parents[2] / "images/out"
_OFTEN = 0.2
"""Seconds between two lines of progress, on a terminal; elsewhere each tenth is told."""


def main() -> None:
    """Exit status 0: flashed and read back; 1: not; 2: wrong usage."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(_flash)
    app(prog_name="./run flash")


def _flash(
    disk: Annotated[Path, typer.Argument(metavar="DISK", help="As /dev/sdb: all on it is lost.")],
    identity: Annotated[
        Path, typer.Option("--identity", metavar="FILE", help="Who the node is (TOML).")
    ],
    image: Annotated[
        Path | None,
        typer.Option("--image", metavar="FILE", help="Default: the newest in images/out."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for the disk's name.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what was done, or the error, as JSON.")
    ] = False,
) -> None:
    """Write the appliance's image and a node's identity to a disk, and read all of it back.

    The node comes up under its identity, without a console. The disk is refused where it is
    mounted, part of something, the system's, or too small. Ended in the middle, it is a disk that
    does not boot; do it again.

    The file of the identity is described in docs/appliance.md.

    Exit status: 0 flashed and read back, 1 not, 2 wrong usage.
    """
    began = time.monotonic()
    try:
        blob = packed(load_identity(identity))
        image = image or _newest()
        table = table_of(image)
        found = look(disk)
        if why := refusal(found, room(table, MOST)):
            raise FlashError(why)
        if not yes:
            _ask(found)
        checked = check_sum(image, _told("checking the image"))
        flash(image, table, blob, found, _told)
    except (ConfigError, FlashError, ValueError) as error:
        _fail(str(error), as_json)
    took = time.monotonic() - began
    if as_json:
        done = {
            "disk": str(disk),
            "image": str(image),
            "checksum": checked,
            "seconds": round(took, 1),
        }
        print(json.dumps(done))
    else:
        unchecked = "" if checked else " (not checked: no SHA256SUMS beside it has its sum)"
        print(f"{disk}: flashed with {image.name}, and read back, in {took:.0f} s{unchecked}")


def _newest() -> Path:
    images = sorted(_IMAGES.glob("edgenode-os_*.raw"), key=lambda each: each.stat().st_mtime)
    if not images:
        raise FlashError(f"there is no image in {_IMAGES}: `./run image` makes one, or use --image")
    return images[-1]


def _ask(disk: Disk) -> None:
    print(f"{disk.title}\nAll that is on it will be lost.", file=sys.stderr)
    if not sys.stdin.isatty():
        raise FlashError("there is no terminal to ask at: use --yes")
    answer = input(f"Type its name ({disk.path.name}) to go on: ")
    if answer.strip() not in (disk.path.name, str(disk.path)):
        raise FlashError("not confirmed: nothing was written")


def _told(what: str) -> Progress:
    """On standard error."""
    tty = sys.stderr.isatty()
    last, tenth = 0.0, 0

    def progress(done: int, whole: int) -> None:
        nonlocal last, tenth
        share, now = done / whole if whole else 1.0, time.monotonic()
        if tty:
            if now - last >= _OFTEN or done == whole:
                last = now
                print(f"\r{what}: {share:4.0%}", end="\n" if done == whole else "", file=sys.stderr)
        elif int(share * 10) > tenth:
            tenth = int(share * 10)
            print(f"{what}: {tenth * 10} %", file=sys.stderr)

    return progress


def _fail(said: str, as_json: bool) -> NoReturn:
    if as_json:
        print(json.dumps({"error": said}))
    else:
        print(f"flash: {said}", file=sys.stderr)
    raise typer.Exit(1)
