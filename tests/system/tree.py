"""Debian trees for the machines of these tests, made once and kept in `.cache/trees`."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

PROJECT = Path(__file__).parents[2]
CACHE = PROJECT / ".cache" / "trees"

PACKAGES = (
    "bird2",
    "dbus",
    "iproute2",
    "kmod",
    "nftables",
    "nginx-light",
    "openssh-server",
    "procps",
    "python3",
    "python3-venv",
    "systemd",
    "systemd-sysv",
    "wireguard-go",
    "wireguard-tools",
)
LIBRARIES = (
    "python3-aiohttp",
    "python3-cryptography",
    "python3-dnspython",
    "python3-h11",
    "python3-prometheus-client",
    "python3-pydantic",
    "python3-pyroute2",
    "python3-re2",
    "python3-rich",
    "python3-typer",
)
"""What the image takes from Debian 13. Debian 12 has them too old, or not at all: a host with it
gets wheels from the playbook."""


def debian(release: str = "trixie") -> Path:
    """The tree of a Debian release, from the apt sources of this machine. About 30 s when new."""
    packages = PACKAGES + (LIBRARIES if release == "trixie" else ())
    what = hashlib.sha256(" ".join((release, *packages)).encode()).hexdigest()[:12]
    tree = CACHE / f"{release}-{what}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / f"{release}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # parallel tests make it once
        if not tree.exists():
            draft = tree.with_suffix(".new")
            shutil.rmtree(draft, ignore_errors=True)
            subprocess.run(
                [
                    # What it mounts ends with it, even when it is killed.
                    *("unshare", "--mount", "--propagation", "private"),
                    *("mmdebstrap", "--quiet", "--mode=root", "--variant=apt"),
                    *(f"--include={','.join(packages)}", release, str(draft), "-"),
                ],
                input=_sources(release),
                text=True,
                check=True,
            )
            os.rename(draft, tree)
    return tree


def make() -> None:
    """Both trees, each at its own pace."""
    with ThreadPoolExecutor() as pool:
        list(pool.map(debian, ("trixie", "bookworm")))


def _sources(release: str) -> str:
    """This machine's Debian mirrors, for another release: as the image takes them."""
    parts = PROJECT / "images/parts.sh"
    command = ("bash", "-euo", "pipefail", "-c", '. "$0"; debian_sources "$1"', parts, release)
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    make()
