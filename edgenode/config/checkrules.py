"""Rules on checks and hooks, beyond what one value can say. Pure."""

from __future__ import annotations

import os
from collections.abc import Iterator

from edgenode.config import certificates, dnsvalues
from edgenode.config.checks import Check, DnsCheck, ExecCheck, HttpCheck, TlsCheck, TlsOptions
from edgenode.config.errors import KeyPath, Problem
from edgenode.config.schema import Config

SOCKET_PATH = 107
"""Bytes of a Unix socket's path, its end left out: unix(7)."""


def check(config: Config) -> Iterator[Problem]:
    """What is wrong with the checks and hooks of a configuration."""
    for c, check_ in enumerate(config.checks):
        yield from _check(check_, ("checks", c))
    names = {item.name for item in (*config.checks, *config.groups)}
    for h, hook in enumerate(config.hooks):
        yield from _command(hook.command, ("hooks", h, "command"))
        for position, name in enumerate(hook.only):
            if name not in names:
                yield Problem(
                    ("hooks", h, "only", position),
                    f'nothing defines a check or group "{name}"',
                    depends=("groups",),
                )


def _check(check_: Check, key: KeyPath) -> Iterator[Problem]:
    if check_.fast_interval is not None and check_.fast_interval > check_.interval:
        yield Problem((*key, "fast_interval"), "is longer than the interval")
    match check_:
        case HttpCheck():
            yield from _http(check_, key)
        case TlsCheck():
            yield from _tls(check_, key)
        case DnsCheck():
            for position, answer in enumerate(check_.answers):
                try:
                    dnsvalues.record(check_.record, answer)
                except ValueError as error:
                    yield Problem((*key, "answers", position), f'"{answer}" {error}')
            if check_.answers and check_.rcode != "NOERROR":
                yield Problem((*key, "answers"), f"there are none with {check_.rcode}")
        case ExecCheck():
            yield from _command(check_.command, (*key, "command"))


def _http(check_: HttpCheck, key: KeyPath) -> Iterator[Problem]:
    if check_.url.tls:
        yield from _tls(check_, key)
    else:
        for name in sorted(TlsOptions.model_fields.keys() & check_.model_fields_set):
            yield Problem((*key, name), "is for https, and the URL is not")
    if check_.unix_socket is not None:
        length = len(os.fsencode(check_.unix_socket))
        if length > SOCKET_PATH:
            what = f"has {length} bytes, a socket's path at most {SOCKET_PATH}"
            yield Problem((*key, "unix_socket"), what)
    if check_.body and (check_.body.contains is None) is (check_.body.regex is None):
        yield Problem((*key, "body"), 'write either "contains" or "regex"')
    for position, header in enumerate(check_.headers):
        if header.contains is not None and header.regex is not None:
            yield Problem((*key, "headers", position), 'write either "contains" or "regex"')


def _tls(check_: HttpCheck | TlsCheck, key: KeyPath) -> Iterator[Problem]:
    if trouble := certificates.name_trouble(certificates.server_name(check_)):
        named = "host" if check_.server_name is None else "server_name"
        yield Problem((*key, named), trouble)
    if check_.insecure and check_.ca_file:
        yield Problem((*key, "insecure"), "no certificate is checked then: leave out ca_file")
    if (check_.client_certificate is None) is not (check_.client_key is None):
        there = "client_key" if check_.client_certificate is None else "client_certificate"
        yield Problem((*key, there), "client_certificate and client_key go together")


def _command(command: tuple[str, ...], key: KeyPath) -> Iterator[Problem]:
    """`env` starts it, to which a word with "=" is a variable and no program."""
    if "=" in command[0]:
        yield Problem(key, 'the path of the program must not have a "="')
    elif not command[0]:
        yield Problem(key, "the program has no name")
