"""`python -m edgenode.steering.compile`: makes the compiled form of the relay, see `form`.

It needs Cython, a C compiler (gcc, or what CC names) and the headers of the Python that runs it.
What is made is whole or not there; a module whose C code is the same as before is not compiled
again.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

from edgenode.steering import form

DIRECTIVES = {
    "annotation_typing": "False",  # the .pxd files alone give C types: a StrEnum is no exact str
    "nonecheck": "True",  # an attribute of None is an error here too, and no crash
    "wraparound": "True",
    "boundscheck": "True",
    "cdivision": "False",
}
FLAGS = (
    "-O2",
    "-g0",
    "-fwrapv",
    "-fPIC",
    "-shared",
    "-fstack-protector-strong",
    "-D_FORTIFY_SOURCE=2",
    # A method that a .pxd declares, taken as a value from an attribute that it types.
    "-Werror=incompatible-pointer-types",
)


_MADE_OF = "made-of.json"


def main() -> int:
    place = form.result()
    if place.is_dir():
        return 0
    form.RESULTS.mkdir(exist_ok=True)
    earlier = sorted(form.RESULTS.glob(f"{place.name.rpartition('-')[0]}-*"))
    with tempfile.TemporaryDirectory(dir=form.RESULTS, prefix=".work-") as work:
        made = Path(work) / "made"
        try:
            _make(Path(work), made, _known(earlier))
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"cannot compile the relay: {error}", file=sys.stderr)
            return 1
        if not place.exists():  # else another one has just made it
            made.rename(place)
    for old in earlier:
        shutil.rmtree(old, ignore_errors=True)
    return 0


def _known(places: list[Path]) -> dict[str, Path]:
    """What was compiled before, by the hash of what it was made of."""
    known = {}
    for place in places:
        try:
            made_of = json.loads((place / _MADE_OF).read_text())
        except (OSError, ValueError):  # being removed
            continue
        known.update({digest: place / name for name, digest in made_of.items()})
    return known


def _make(work: Path, made: Path, known: dict[str, Path]) -> None:
    """Compile all modules into `made`. Raises OSError and CalledProcessError."""
    root = form.HERE.parents[1]
    made.mkdir(mode=0o755)
    compiler = [os.environ.get("CC", "gcc"), *FLAGS, f"-I{sysconfig.get_path('include')}"]
    options = [word for name, value in DIRECTIVES.items() for word in ("-X", f"{name}={value}")]

    def compile_one(module: str, source: Path) -> tuple[str, str]:
        code = work / f"{module}.c"
        result = made / f"{module}{EXTENSION_SUFFIXES[0]}"
        # Relative: tracebacks name it, and two builds are the same wherever they are made.
        path = source.relative_to(root)
        name = ".".join((*path.parts[:-1], module))
        cython = [sys.executable, "-m", "cython", "-3", *options, "--module-name", name]
        subprocess.run([*cython, "-o", str(code), str(path)], cwd=root, check=True)
        digest = sha256(" ".join(compiler).encode() + code.read_bytes()).hexdigest()
        if digest in known:
            shutil.copy(known[digest], result)
        else:
            print(f"compiling {path}", file=sys.stderr)
            subprocess.run([*compiler, code.name, "-o", str(result)], cwd=work, check=True)
        return result.name, digest

    sources = form.sources()
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        made_of = dict(pool.map(compile_one, sources, sources.values()))
    (made / _MADE_OF).write_text(json.dumps(made_of))


if __name__ == "__main__":
    sys.exit(main())
