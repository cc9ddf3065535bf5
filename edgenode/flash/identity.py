"""A node's identity: the file (TOML) that an operator writes, and the bytes that a node takes in.

The bytes are one line that says what they are, one with length and SHA-256 of the rest, and the
rest: a tar archive of files below /var/etc. The reader is images/mkosi/mkosi.extra/usr/lib/
edgenode-image/identity.
"""

from __future__ import annotations

import hashlib
import io
import re
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from edgenode import regularfile
from edgenode.config import secrets
from edgenode.config.errors import ConfigError, Problem
from edgenode.config.load import located, parsed, read
from edgenode.config.refusals import schema_problems
from edgenode.config.section import Section

MAGIC = b"edgenode identity 1\n"
MOST = 1024 * 1024
"""Bytes of the partition."""

Hostname = Annotated[
    str,
    Field(
        max_length=63,
        pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$",
    ),
]
"""RFC 1123, 2.1, in lower case; Linux takes 64 bytes."""
NetworkName = Annotated[
    str, Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z_.-]{0,63}\.(network|netdev|link)$")
]
Text = Annotated[str, Field(min_length=1, max_length=65536)]
_LINE = re.compile(r"\s*([#;].*|\[[A-Za-z0-9]+\]|[A-Za-z0-9]+\s*=.*)?")
"""Of systemd.syntax(7), as far as networkd's files use it."""
_SECRET = re.compile(r"\s*(PrivateKey|PresharedKey|Password)\s*=\s*(?!@|\s*$)")
"""Of systemd.netdev(5) and systemd.network(5); one with an @ is the name of a credential."""


class Identity(Section):
    """What makes a node out of an image."""

    hostname: Hostname
    authorized_keys: Annotated[tuple[Text, ...], Field(min_length=1)]
    """SSH public keys that log in as root."""
    ssh_host_key_file: Annotated[str, Field(pattern=r"^[^\x00]+$")] | None = None
    """An ed25519 key, so that the node is known before it is up; absent: it makes one."""
    network: Annotated[dict[NetworkName, Text], Field(default_factory=dict)]
    """Files for systemd-networkd by name; none: DHCP on each card."""


def load_identity(path: Path) -> dict[str, bytes]:
    """The node's files, by their names below /var/etc. Raises ConfigError."""
    text = read(path)
    raw = parsed(text, path)
    try:
        identity = Identity.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(path, located(schema_problems(error, Identity), text)) from None
    problems = list(_problems(identity, path.parent))
    if problems:
        raise ConfigError(path, located(problems, text))
    return _files(identity, path.parent)


def packed(files: dict[str, bytes]) -> bytes:
    """The partition's bytes, without the zeros behind them. Raises ValueError: too many."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            entry.mode = 0o600 if name.endswith("_key") else 0o644
            tar.addfile(entry, io.BytesIO(content))
    body = archive.getvalue()
    whole = MAGIC + f"{len(body)} {hashlib.sha256(body).hexdigest()}\n".encode() + body
    if len(whole) > MOST:
        raise ValueError(f"an identity has {MOST} bytes at most, this one {len(whole)}")
    return whole


def _problems(identity: Identity, beside: Path) -> Iterator[Problem]:
    for position, key in enumerate(identity.authorized_keys):
        if not key.strip().isprintable() or not _is_public(key):
            yield Problem(("authorized_keys", position), "is no SSH public key")
    if identity.ssh_host_key_file is not None:
        file = beside / identity.ssh_host_key_file
        if trouble := secrets.complain(file):
            yield Problem(("ssh_host_key_file",), trouble)
        elif not _public(file).startswith(b"ssh-ed25519 "):
            said = (
                f"{file} is no ed25519 key without a pass phrase: `ssh-keygen -t ed25519` makes one"
            )
            yield Problem(("ssh_host_key_file",), said)
    for name, text in identity.network.items():
        if trouble := _trouble(text):
            yield Problem(("network", name), trouble)


def _trouble(text: str) -> str | None:
    """What is wrong with a file for networkd; without what is in it, which may be a secret."""
    section = False
    for number, line in enumerate(text.split("\n"), 1):
        if not _LINE.fullmatch(line) or not line.replace("\t", " ").isprintable():
            return f"line {number} is no line of systemd-networkd's"
        if _SECRET.match(line):
            return f"line {number} has a secret, which all on the node could read: provision it"
        section = section or line.lstrip().startswith("[")
    return None if section else "has no section, as [Match]"


def _files(identity: Identity, beside: Path) -> dict[str, bytes]:
    keys = "".join(f"{key.strip()}\n" for key in identity.authorized_keys)
    files = {
        "hostname": f"{identity.hostname}\n".encode(),
        "ssh/authorized_keys/root": keys.encode(),
        **{f"network/{name}": text.encode() for name, text in identity.network.items()},
    }
    if identity.ssh_host_key_file is not None:
        file = beside / identity.ssh_host_key_file
        files["ssh/ssh_host_ed25519_key"] = regularfile.read(file)
        files["ssh/ssh_host_ed25519_key.pub"] = _public(file)
    return files


def _is_public(line: str) -> bool:
    done = subprocess.run(
        ("ssh-keygen", "-l", "-f", "/dev/stdin"), input=line.encode(), capture_output=True
    )
    return done.returncode == 0


def _public(file: Path) -> bytes:
    """Empty: it is no private key that can be used."""
    done = subprocess.run(
        ("ssh-keygen", "-y", "-P", "", "-f", str(file)),
        capture_output=True,
        stdin=subprocess.DEVNULL,
    )
    return done.stdout if done.returncode == 0 else b""
