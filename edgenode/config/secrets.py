"""Files that hold secrets: who may read them, and reading them."""

from __future__ import annotations

import base64
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from edgenode import regularfile
from edgenode.config import certificates
from edgenode.config.checks import TlsOptions
from edgenode.config.errors import KeyPath, Problem
from edgenode.config.registry import Access
from edgenode.config.schema import Config, Mesh
from edgenode.config.values import decode_key

MAX_PASSWORD = 80
"""Bytes: TCP_MD5SIG_MAXKEYLEN of Linux."""

_PASSWORD = re.compile(rf"[\x20\x21\x23-\x7e]{{1,{MAX_PASSWORD}}}")


class SecretError(Exception):
    """A secret's file cannot be used; the text never holds the secret."""


def complain(path: Path) -> str | None:
    """What is wrong with the file of a secret, as a sentence, or None."""
    try:
        status = path.stat()
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}"
    if not stat.S_ISREG(status.st_mode):
        return f"{path} is no regular file"
    if status.st_mode & 0o077:
        mode = stat.S_IMODE(status.st_mode)
        return f"{path} can be read by others (mode {mode:04o}): chmod 600 {path}"
    if not os.access(path, os.R_OK):
        return f"{path} cannot be read by this user: it must belong to the one who runs edgenode"
    return None


def password(text: str) -> str:
    """A TCP MD5 password that BIRD can read. Raises ValueError, without the password in it."""
    if not _PASSWORD.fullmatch(text):
        raise ValueError(
            f'a BGP password is 1 to {MAX_PASSWORD} printable ASCII characters, without "'
        )
    return text


def read(path: Path) -> str:
    """The BGP password that is the one line of a file. Raises SecretError."""
    text = line(path)
    try:
        return password(text)
    except ValueError as error:
        raise SecretError(f"{path} cannot be used: {error}") from None


def line(path: Path) -> str:
    """The one line of a secret's file, printable ASCII. Raises SecretError."""
    if trouble := complain(path):
        raise SecretError(trouble)
    try:
        text = regularfile.read(path, 4096).decode("ascii").strip("\r\n")
    except OSError as error:
        raise SecretError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SecretError(f"{path} cannot be read as one line of ASCII text") from None
    if not text or not text.isprintable():
        raise SecretError(f"{path} must hold one line of printable text")
    return text


def check(config: Config) -> Iterator[Problem]:
    """Problems with the secrets' files that the configuration names."""
    for position, neighbor in enumerate(config.bgp.neighbors):
        if neighbor.password_file:
            key: KeyPath = ("bgp", "neighbors", position, "password_file")
            try:
                read(neighbor.password_file)
            except SecretError as error:
                yield Problem(key, str(error))
    yield from _certificates(config)
    if config.registry:
        yield from registry(config.registry, ("registry",))
    if not config.mesh:
        return
    for position, peer in enumerate(config.mesh.peers):
        if peer.preshared_key_file and (trouble := _preshared(peer.preshared_key_file)):
            yield Problem(("mesh", "peers", position, "preshared_key_file"), trouble)
    # The WireGuard key is made at the first start: absent is fine, readable by others is not.
    try:
        config.private_key_file.stat()
    except FileNotFoundError:
        return
    except OSError:
        pass  # `complain` says why
    if trouble := complain(config.private_key_file):
        yield Problem(("mesh", "private_key_file"), trouble)
    else:
        yield from _own_key(config.mesh, config.private_key_file)


def _own_key(mesh: Mesh, path: Path) -> Iterator[Problem]:
    """A key that is damaged is not told here: the node has another one made, or says so."""
    try:
        raw = decode_key(regularfile.read(path, 256).decode("ascii", "replace").strip())
    except (OSError, ValueError):
        return
    public = X25519PrivateKey.from_private_bytes(raw).public_key().public_bytes_raw()
    own = base64.b64encode(public).decode()
    for position, peer in enumerate(mesh.peers):
        for field in ("public_key", "next_public_key"):
            if getattr(peer, field) == own:
                what = (
                    f"is this node's own key, of {path}: write what `edgenode mesh key` prints on "
                    f"{peer.name} itself"
                )
                yield Problem(("mesh", "peers", position, field), what)


def _preshared(path: Path) -> str | None:
    if trouble := complain(path):
        return trouble
    try:
        if any(decode_key(regularfile.read(path, 256).decode("ascii", "replace").strip())):
            return None
    except (OSError, ValueError):
        pass
    return f"{path} holds no WireGuard preshared key: write what `wg genpsk` printed"


def _certificates(config: Config) -> Iterator[Problem]:
    """With the very code that a check will use them by."""
    for position, check_ in enumerate(config.checks):
        if not isinstance(check_, TlsOptions):
            continue
        files = certificates.Files.of(check_)
        if files.client_key and (trouble := complain(files.client_key)):
            yield Problem(("checks", position, "client_key"), trouble)
        elif files.paths():
            try:
                certificates.context(files)
            except ValueError as error:
                named = "client_certificate" if files.client_certificate else "ca_file"
                yield Problem(("checks", position, named), str(error))


def registry(access: Access, at: KeyPath) -> Iterator[Problem]:
    """Problems with the files by which etcd is reached."""
    if access.password_file:
        try:
            line(access.password_file)
        except SecretError as error:
            yield Problem((*at, "password_file"), str(error))
    if access.key_file and (trouble := complain(access.key_file)):
        yield Problem((*at, "key_file"), trouble)
        return
    try:
        certificates.context(tls_of(access))
    except ValueError as error:
        yield Problem((*at, "cert_file" if access.cert_file else "ca_file"), str(error))


def tls_of(access: Access) -> certificates.Files:
    """Our side of TLS to etcd."""
    return certificates.Files(access.ca_file, access.cert_file, access.key_file, insecure=False)
