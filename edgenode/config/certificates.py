"""Our side of TLS from its options: the files are read, and what is wrong with them is said."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from edgenode import regularfile
from edgenode.config.checks import HttpCheck, TlsCheck, TlsOptions

NO_CHECK_TIME = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME of <openssl/x509_vfy.h>: dates are for whoever looks at them."""


@dataclass(frozen=True)
class Files:
    """What our side of TLS is made of."""

    ca_file: Path | None
    client_certificate: Path | None
    client_key: Path | None
    insecure: bool

    @classmethod
    def of(cls, options: TlsOptions) -> Files:
        """As a check has it."""
        return cls(
            options.ca_file, options.client_certificate, options.client_key, options.insecure
        )

    def paths(self) -> list[Path]:
        """Those that are named."""
        named = (self.ca_file, self.client_certificate, self.client_key)
        return [path for path in named if path is not None]


def context(options: Files) -> ssl.SSLContext:
    """For connections to a target. Raises ValueError with a sentence."""
    for path in options.paths():
        try:
            regularfile.read(path)  # OpenSSL would wait for a FIFO
        except OSError as error:
            raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.verify_flags = ssl.VerifyFlags(made.verify_flags | NO_CHECK_TIME)
    if options.insecure:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    elif options.ca_file is None:
        made.load_default_certs()
    else:
        try:
            made.load_verify_locations(options.ca_file)
        except OSError as error:  # ssl.SSLError is one
            raise ValueError(f"{options.ca_file} {_why(error, 'certificates (PEM)')}") from None
    if options.client_certificate is not None:
        try:
            # Without a password of ours OpenSSL would ask for one on the terminal.
            made.load_cert_chain(options.client_certificate, options.client_key, password="")
        except OSError as error:
            files = (options.client_certificate, options.client_key)
            named = " and ".join(str(path) for path in files if path is not None)
            what = "a certificate and its key (PEM, not encrypted)"
            raise ValueError(f"{named} {_why(error, what)}") from None
    return made


def server_name(check: HttpCheck | TlsCheck) -> str:
    """The name in the certificate: what is configured, else the Host header's, else the address."""
    if check.server_name is not None:
        return check.server_name
    if isinstance(check, TlsCheck):
        return str(check.target.host)
    name, _, port = (check.host or "").rpartition(":")
    if not (name and port.isdecimal()):
        name = check.host or ""
    return name.strip("[]") or str(check.url.endpoint.host)


def name_trouble(name: str) -> str:
    """Why a name cannot be asked for, in the words of who asks; empty: it can."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).wrap_bio(
            ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname=name
        )
    except ValueError as error:  # UnicodeError is one
        return f'"{name}" is no name that a certificate could be for: {error}'
    return ""


def _why(error: OSError, wanted: str) -> str:
    if isinstance(error, ssl.SSLError):
        detail = f" ({error.reason.replace('_', ' ').lower()})" if error.reason else ""
        return f"cannot be used as {wanted}{detail}"
    return f"cannot be read: {error.strerror}"
