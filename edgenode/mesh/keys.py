"""WireGuard keys: made once, kept in a file that only its owner reads, never shown.

A key is 32 bytes of Curve25519, in base64 as `wg genkey` and `wg pubkey` write it (wg(8)).
"""

from __future__ import annotations

import base64
import contextlib
import hmac
import os
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from edgenode import regularfile
from edgenode.config.values import KEY_BYTES, decode_key
from edgenode.durable import sync_directory
from edgenode.mesh.errors import KeyFileError

NOT_ALLOWED = ": are you root? It belongs to the user that control runs as"
"""After what the system says (EACCES, EPERM)."""


class PrivateKey:
    """A private key that does not print itself; `public` is its public key in base64."""

    __slots__ = ("_raw", "public")

    def __init__(self, raw: bytes) -> None:
        """Raises ValueError unless `raw` is 32 bytes."""
        if len(raw) != KEY_BYTES:
            raise ValueError(f"a WireGuard key has {KEY_BYTES} bytes, not {len(raw)}")
        self._raw = raw
        public = X25519PrivateKey.from_private_bytes(raw).public_key()
        self.public = base64.b64encode(public.public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()

    @classmethod
    def generate(cls) -> PrivateKey:
        """A new key, clamped as `wg genkey` does (RFC 7748, section 5)."""
        raw = bytearray(secrets.token_bytes(KEY_BYTES))
        raw[0] &= 248
        raw[31] = (raw[31] & 127) | 64
        return cls(bytes(raw))

    @classmethod
    def from_base64(cls, text: str) -> PrivateKey:
        """Raises ValueError, which never holds the text."""
        return cls(decode_key(text))

    def reveal_base64(self) -> str:
        """The secret, for the kernel's netlink interface and the key file alone."""
        return base64.b64encode(self._raw).decode()

    def reveal_hex(self) -> str:
        """The secret, for the UAPI socket alone."""
        return self._raw.hex()

    def __repr__(self) -> str:
        return f"PrivateKey(public={self.public!r})"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a private key is not pickled")


class PresharedKey:
    """What two nodes share beside their keys; it compares, and does not print itself."""

    __slots__ = ("_raw",)

    def __init__(self, raw: bytes) -> None:
        """Raises ValueError unless `raw` is 32 bytes."""
        if len(raw) != KEY_BYTES:
            raise ValueError(f"a WireGuard key has {KEY_BYTES} bytes, not {len(raw)}")
        self._raw = raw

    @classmethod
    def from_base64(cls, text: str) -> PresharedKey:
        """Raises ValueError, which never holds the text."""
        return cls(decode_key(text))

    @classmethod
    def present(cls, raw: bytes) -> PresharedKey | None:
        """The one that a device has: 32 zeros stand for none (linux/wireguard.h)."""
        return cls(raw) if any(raw) else None

    def reveal_base64(self) -> str:
        """The secret, for the kernel's netlink interface alone."""
        return base64.b64encode(self._raw).decode()

    def reveal_hex(self) -> str:
        """The secret, for the UAPI socket alone."""
        return self._raw.hex()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PresharedKey) and hmac.compare_digest(self._raw, other._raw)

    def __hash__(self) -> int:
        return hash(self._raw)

    def __repr__(self) -> str:
        return "PresharedKey(hidden)"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a preshared key is not pickled")


@dataclass(frozen=True)
class Version:
    """Tells whether a file was replaced, written anew or given other rights since it was read."""

    inode: int
    size: int
    changed: int
    """Nanoseconds, its status included (st_ctime)."""

    @classmethod
    def of(cls, path: Path) -> Version | None:
        """None where the file cannot be looked at: reading it says why."""
        try:
            status = path.stat()
        except OSError:
            return None
        return cls(status.st_ino, status.st_size, status.st_ctime_ns)


def load_or_create(path: Path) -> PrivateKey:
    """The key in `path`; at the first start it is made there, mode 0600, its directory 0700.

    Raises KeyFileError when the file cannot be read, made, or is not for its owner alone.
    """
    try:
        with contextlib.suppress(FileNotFoundError):
            return _private(path)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _create(path)
        return _private(path)
    except OSError as error:
        what = f"cannot use the WireGuard private key {path}: {error.strerror}"
        if isinstance(error, PermissionError):
            raise KeyFileError(what + NOT_ALLOWED) from error
        raise KeyFileError(f"{what}; its directory must be there, and writable") from error


def load_preshared(path: Path) -> PresharedKey:
    """Two nodes have to have it, so it is never made here. Raises KeyFileError."""
    what = "WireGuard preshared key"
    try:
        key = PresharedKey.from_base64(_read(path, what))
    except OSError as error:
        if isinstance(error, PermissionError):
            raise KeyFileError(
                f"cannot use the {what} {path}: {error.strerror}{NOT_ALLOWED}"
            ) from error
        raise KeyFileError(
            f"cannot use the {what} {path}: {error.strerror}; "
            "make one with `(umask 077; wg genpsk > FILE)`, the same for both nodes"
        ) from error
    except ValueError as error:
        raise KeyFileError(
            f"the {what} {path} is damaged: {error}; write the one that the peer has"
        ) from None
    if PresharedKey.present(decode_key(key.reveal_base64())) is None:
        raise KeyFileError(f"the {what} {path} is all zeros, which is none: make one (wg genpsk)")
    return key


def _private(path: Path) -> PrivateKey:
    try:
        return PrivateKey.from_base64(_read(path, "WireGuard private key"))
    except ValueError as error:
        raise KeyFileError(
            f"the WireGuard private key {path} is damaged: {error}; "
            "restore it, or remove it to have a new one made"
        ) from None


def _read(path: Path, what: str) -> str:
    """The text of a secret's file. Raises OSError, and KeyFileError where others may read it."""
    try:
        raw, status = regularfile.read_with_status(path, 256)
    except regularfile.NotRegular as error:
        raise KeyFileError(f"the {what} {path} cannot be read: {error.strerror}") from None
    if status.st_mode & 0o077:
        raise KeyFileError(
            f"others may read the {what} {path} "
            f"(mode {stat.S_IMODE(status.st_mode):04o}): make a new key, "
            f"or `chmod 600 {path}` if nobody has read it"
        )
    return raw.decode("ascii", "replace").strip()


def _create(path: Path) -> None:
    """Whole or not at all: written beside, then linked, which never replaces a key."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            owner = os.stat(path.parent)
            if os.geteuid() == 0 and owner.st_uid != 0:
                # Made by hand, or while the node is provisioned: control has to read it later.
                os.fchown(descriptor, owner.st_uid, owner.st_gid)
            file.write(PrivateKey.generate().reveal_base64() + "\n")
            file.flush()
            os.fsync(descriptor)
        with contextlib.suppress(FileExistsError):  # another start was first: its key stands
            os.link(draft, path)
    finally:
        os.unlink(draft)
    sync_directory(path.parent)
