"""Another release of edgenode: a built one's extension is taken out, changed, and signed anew.

A build takes minutes, most of them for the relay's compiled form, and would differ in nothing else.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from edgenode.system import gpt
from tests.system.tree import PROJECT

TOOLS = PROJECT / ".cache/image/tools"
KEYS = PROJECT / "images/keys"
_RELEASE = "usr/lib/extension-release.d/extension-release.edgenode"


def foreign_keys(into: Path) -> Path:
    """A directory of keys that no image knows."""
    _parts('signing_key "$2" "$3" extension "somebody else"', TOOLS, into)
    return into


def remake(
    built: Path,
    version: str,
    into: Path,
    change: Callable[[Path], None] = lambda tree: None,
    keys: Path = KEYS,
) -> Path:
    """`edgenode_VERSION.raw` in `into`; `change` is given the directory of the Python package."""
    work = into / f"work-{version}"
    work.mkdir(parents=True)
    (root,) = (part for part in gpt.read(built) if part.type == gpt.ROOT)
    with built.open("rb") as file, (work / "erofs").open("wb") as out:
        file.seek(root.start)
        out.write(file.read(root.size))
    _parts('within "$2" fsck.erofs --extract="/mnt/host$3/tree" "/mnt/host$3/erofs"', TOOLS, work)
    tree = work / "tree"
    identity = tree / _RELEASE
    lines = identity.read_text().splitlines()
    kept = [line for line in lines if not line.startswith("SYSEXT_VERSION_ID=")]
    identity.write_text("\n".join([*kept, f"SYSEXT_VERSION_ID={version}", ""]))
    change(tree / "usr/lib/edgenode/edgenode")
    result = into / f"edgenode_{version}.raw"
    _parts('signed "$2" "$3" "$4" "$5" "$6"', TOOLS, tree, version, keys, result)
    shutil.rmtree(work)
    return result


def break_off(package: Path, room: str) -> None:
    """Whoever imports that room of the package ends."""
    shutil.rmtree(package / room / "__pycache__", ignore_errors=True)
    (package / room / "__init__.py").write_text('raise SystemExit("broken on purpose")\n')


def _parts(script: str, *arguments: object) -> None:
    """A line of bash with images/parts.sh read; $2 is the first argument."""
    parts = str(PROJECT / "images/parts.sh")
    command = ["bash", "-euc", f'. "$1"; {script}', "-", parts, *map(str, arguments)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "SOURCE_DATE_EPOCH": "0"},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
