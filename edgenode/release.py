"""Which release of edgenode this process runs, as an operator knows it.

The version alone does not tell: two states of a checkout have the same one.
"""

from __future__ import annotations

import re
from pathlib import Path

from edgenode import __version__

_VERSIONS = Path("/opt/edgenode/versions")  # of a plain host, a directory for each
_EXTENSION = Path("usr/lib/extension-release.d/extension-release.edgenode")
_IDENTITY = re.compile(r"^SYSEXT_VERSION_ID=[\"']?([^\"'\s]+)", re.MULTILINE)


def release_of(package: Path, root: Path = Path("/")) -> str:
    """By where the code lies: a release of a plain host, or a system extension of the appliance.

    Elsewhere, as in a checkout, it is the version. See os-release(5) for extensions.
    """
    for place in package.parents:
        if place.parent == _VERSIONS:
            return place.name
    if package.is_relative_to(root / "usr/lib/edgenode"):
        try:
            if found := _IDENTITY.search((root / _EXTENSION).read_text()):
                return found[1]
        except (OSError, ValueError):
            pass
    return __version__


RELEASE = release_of(Path(__file__).resolve().parent)
"""Found when the process starts: what the paths lead to changes with the next release."""
