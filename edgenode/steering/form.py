"""Which form of the relay runs: the one compiled by Cython, or the interpreted one.

Both are of one source. A module of this package that has a .pxd file beside it, which adds C types,
can be compiled (see `compile`); it is then found in a directory that is named by a hash over all
that it was made from. So what does not fit the sources is never run.

What a module that is compiled must keep to: each attribute of a class that a .pxd names is in the
.pxd too, and no other; a `match` statement, which Debian 13's Cython does not know, is not used;
an integer that a .pxd types has C's bounds (OverflowError beyond them).
"""

from __future__ import annotations

import os
from collections.abc import MutableSequence
from hashlib import sha256
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

COMPILED = "compiled"
INTERPRETED = "interpreted"

VARIABLE = "EDGENODE_STEERING"
"""In the environment: that the relay is to run in this form and in no other."""

HERE = Path(__file__).parent
RESULTS = HERE / "__compiled__"


def sources(package: Path = HERE) -> dict[str, Path]:
    """The modules that can be compiled, and from which file: a .pyx is another body of the .py."""
    found = {}
    for declarations in sorted(package.glob("*.pxd")):
        body = declarations.with_suffix(".pyx")
        found[declarations.stem] = body if body.exists() else declarations.with_suffix(".py")
    return found


def result(package: Path = HERE) -> Path:
    """Where the compiled modules are that fit the sources and this Python. Raises OSError."""
    digest = sha256()
    for source in sources(package).values():
        for path in (source, source.with_suffix(".pxd")):
            text = path.read_bytes()
            digest.update(f"{path.name} {len(text)}\n".encode() + text)
    digest.update((package / "compile.py").read_bytes())
    abi = EXTENSION_SUFFIXES[0].strip(".").removesuffix(".so")
    return package / RESULTS.name / f"{abi}-{digest.hexdigest()[:24]}"


def choose(search: MutableSequence[str], package: Path = HERE) -> str:
    """Return the form that runs from now on; put the compiled modules first, if they are to be.

    `search` is the package's __path__. Raises ImportError if the form that is asked for is not
    there.
    """
    wanted = os.environ.get(VARIABLE)
    if wanted not in (None, "", COMPILED, INTERPRETED):
        raise ImportError(f"{VARIABLE} is {wanted!r}: it may be {COMPILED} or {INTERPRETED}")
    if wanted != INTERPRETED:
        # Most hosts that have no compiled form have no such directory: nothing is read then.
        if (package / RESULTS.name).is_dir() and (place := result(package)).is_dir():
            search.insert(0, str(place))
            return COMPILED
        if wanted == COMPILED:
            raise ImportError(
                f"{VARIABLE} asks for the compiled form, and none is there that fits the sources"
                f" in {package}: make it by `./run compile` or python -m edgenode.steering.compile"
            )
    return INTERPRETED
