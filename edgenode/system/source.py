"""Where new versions come from: a directory, here or behind an address, that `./run release` made.

Nothing is believed that the operator's release key has not signed; its public half is in the image.
Without TLS somebody on the way can withhold a version, and can change none.
"""

from __future__ import annotations

import subprocess
import tempfile
import tomllib
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

from edgenode import regularfile
from edgenode.system.errors import UpdateError
from edgenode.system.manifest import Release, releases

CONFIGURATION = Path("/etc/edgenode/updates.toml")
KEYRING = Path("/usr/lib/systemd/import-pubring.gpg")
"""systemd-sysupdate's own, too."""

_LARGEST = 1 << 20
_TIMEOUT = 30.0


def configured(file: Path = CONFIGURATION) -> str:
    """The source's address, as `updates.toml` says. Raises UpdateError."""
    try:
        data = tomllib.loads(regularfile.read(file).decode())
    except FileNotFoundError:
        raise UpdateError(
            f'no source is configured: write `source = "https://…"` into {file}, or say --source'
        ) from None
    except OSError as error:
        raise UpdateError(f"{file} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise UpdateError(f"{file} is no TOML: {error}") from None
    if unknown := sorted(set(data) - {"source"}):
        raise UpdateError(f"{file}: unknown key {unknown[0]}; there is: source")
    if not isinstance(source := data.get("source"), str):
        raise UpdateError(f'{file}: source is a text, as "https://…" or "/srv/edgenode"')
    return address(source)


def address(source: str) -> str:
    """A directory's path or an address, as an address. Raises UpdateError."""
    if source.startswith("/"):
        return Path(source).as_uri()
    try:
        split = urlsplit(source)
    except ValueError:
        split = urlsplit("")
    if not (split.scheme in ("https", "http") and split.hostname) and split.scheme != "file":
        raise UpdateError(f"{source} is no source: an absolute path, or https://…")
    if any(char.isspace() or not char.isprintable() for char in source):
        raise UpdateError("a source has no spaces in it: write %20")
    return source.rstrip("/")


def offered(source: str, keyring: Path = KEYRING) -> dict[str, Release]:
    """The versions there, by an address. Raises UpdateError."""
    sums, signature = fetch(f"{source}/SHA256SUMS"), fetch(f"{source}/SHA256SUMS.gpg")
    verify(sums, signature, keyring, source)
    try:
        return releases(sums.decode())
    except ValueError as error:
        raise UpdateError(f"{source}: {error}") from None


def fetch(url: str) -> bytes:
    """A small file. Raises UpdateError."""
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT) as answer:
            data: bytes = answer.read(_LARGEST + 1)
    except (OSError, ValueError) as error:
        why = error.reason if isinstance(error, urllib.error.URLError) else error
        raise UpdateError(f"{url} cannot be had: {why}") from None
    if len(data) > _LARGEST:
        raise UpdateError(f"{url} is far larger than a list of versions")
    return data


def verify(text: bytes, signature: bytes, keyring: Path, source: str) -> None:
    """That a key of the keyring signed the text. Raises UpdateError."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        (place / "text").write_bytes(text)
        (place / "signature").write_bytes(signature)
        # As systemd-pull calls it: the keyring is the image's, and all of it is trusted.
        command = (
            *("gpg", "--homedir", name, "--batch", "--no-options", "--no-default-keyring"),
            *("--no-auto-key-locate", "--no-auto-check-trustdb", "--trust-model=always"),
            *(f"--keyring={keyring}", "--verify", "signature", "text"),
        )
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=place)
        except FileNotFoundError:
            raise UpdateError("gpg is not installed: no signature can be verified") from None
        except subprocess.TimeoutExpired:
            raise UpdateError("gpg did not end within 60 s") from None
    if done.returncode != 0:
        said = " ".join(done.stderr.split())
        raise UpdateError(f"the signature of {source} is not of the release key: {said}")
