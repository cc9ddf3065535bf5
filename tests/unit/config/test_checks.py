"""Checks and hooks: what is accepted of them, and what an operator is told about what is not."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenode.config import DnsCheck, HttpCheck, TlsCheck, dnsvalues, loads
from edgenode.config.patterns import compiled
from tests.unit.config.test_config import GOOD, problems
from tests.unit.health.certificates import Authority

OLD = 'type = "http"\nurl = "http://192.0.2.1/health"\n'
HTTPS = 'type = "http"\nurl = "https://192.0.2.1/health"\n'
TLS = 'type = "tls"\ntarget = "192.0.2.1:443"\n'
DNS = 'type = "dns"\ntarget = "192.0.2.1:53"\nquery = "www.example.net"\n'
EXEC = 'type = "exec"\ncommand = ["true"]\n'


def with_check(text: str) -> str:
    assert OLD in GOOD
    return GOOD.replace(OLD, text, 1)


def check_of(text: str) -> Any:
    return loads(with_check(text)).checks[1]


def test_an_https_check_with_everything(tmp_path: Path) -> None:
    check = check_of(
        HTTPS
        + 'host = "www.example.net"\nserver_name = "origin.example.net"\nstatus = [200, 204]\n'
        'headers = [{ name = "x-ready" }, { name = "server", regex = "(?i)nginx" }]\n'
        'body = { contains = "ok" }\nunix_socket = "/run/app.sock"\nexpiry_warning = "30d"\n'
        'fast_interval = "200ms"\ninitial = "down"\n'
    )
    assert isinstance(check, HttpCheck)
    assert (check.url.tls, check.url.endpoint.port) == (True, 443)
    assert check.expiry_warning == 30 * 86400
    assert (check.fast_interval, check.initial) == (0.2, "down")


def test_tls_dns_and_exec_checks_with_their_defaults() -> None:
    tls, dns, command = check_of(TLS), check_of(DNS + 'record = "aaaa"\n'), check_of(EXEC)
    assert isinstance(tls, TlsCheck)
    assert (tls.insecure, tls.expiry_warning, tls.tripwire) == (False, 14 * 86400, True)
    assert isinstance(dns, DnsCheck)
    assert (dns.record, dns.rcode, dns.tripwire) == ("AAAA", "NOERROR", False)
    assert (command.on_warning, command.on_unknown) == ("up", "keep")


@pytest.mark.parametrize(
    ("text", "key", "what"),
    [
        (OLD + "insecure = true\n", "insecure", "is for https"),
        (OLD + 'server_name = "x"\n', "server_name", "is for https"),
        (OLD + 'fast_interval = "2s"\n', "fast_interval", "longer than the interval"),
        (OLD + "fast_interval = 0\n", "fast_interval", "0.01"),
        (OLD + 'initial = "sure"\n', "initial", '"unknown", "up" or "down"'),
        (OLD + "body = {}\n", "body", "either"),
        (OLD + 'body = { contains = "a", regex = "b" }\n', "body", "either"),
        (OLD + 'body = { regex = "(a" }\n', "body.regex", "RE2 does not take it: missing ): "),
        (OLD + "body = { regex = '(.)\\1' }\n", "body.regex", "RE2 does not take it"),
        (OLD + 'body = { regex = "(?=a)" }\n', "body.regex", "RE2 does not take it"),
        (OLD + 'body = { regex = "((a{100}){100}){100}" }\n', "body.regex", "RE2 does not"),
        (OLD + 'headers = [{ name = "a b" }]\n', "headers[0].name", "must match"),
        (OLD + 'headers = [{ name = "a:\\r\\nb" }]\n', "headers[0].name", "must match"),
        (OLD + 'headers = [{ name = "a", contains = "", regex = "" }]\n', "headers[0]", ""),
        (OLD + 'host = "a\\r\\nb"\n', "host", "must match"),
        (OLD + f'unix_socket = "/{"x" * 110}"\n', "unix_socket", "at most 107"),
        (OLD + 'unix_socket = "app.sock"\n', "unix_socket", "from /"),
        (HTTPS + 'insecure = true\nca_file = "/x"\n', "insecure", "leave out ca_file"),
        (HTTPS + 'client_key = "/x"\n', "client_key", "go together"),
        (HTTPS + 'client_certificate = "/x"\n', "client_certificate", ": /x cannot be read"),
        (HTTPS + 'body = "ok"\n', "body", "a table, { KEY = … }, with keys of contains, regex"),
        (HTTPS + "status = 200\n", "status", "write a list"),
        (TLS + 'url = "https://192.0.2.1/"\n', "url", "is no key of this type"),
        (TLS + 'server_name = "a b"\n', "server_name", "must match"),
        (TLS + 'server_name = "a..b"\n', "server_name", "no name that a certificate"),
        (TLS + f'server_name = "{"a" * 64}.net"\n', "server_name", "no name that a certificate"),
        (HTTPS + 'host = ".example.net"\n', "host", "no name that a certificate"),
        (TLS + 'ca_file = "/absent.pem"\n', "ca_file", "No such file"),
        (DNS + 'record = "AXFR"\n', "record", "no type of records"),
        (DNS + 'record = "what"\n', "record", 'such as "A"'),
        (DNS + 'rcode = "FINE"\n', "rcode", "NXDOMAIN"),
        (DNS + 'answers = ["192.0.2.300"]\n', "answers[0]", "no data of a record of type A"),
        (DNS + 'rcode = "REFUSED"\nanswers = ["192.0.2.3"]\n', "answers", "none with REFUSED"),
        (DNS.replace("www.", "www..") + "\n", "query", "no domain name"),
        (DNS + 'transport = "quic"\n', "transport", '"udp" or "tcp"'),
        (EXEC.replace("true", "a=b"), "command", '"="'),
        (EXEC.replace('"true"', '""'), "command", "no name"),
        (EXEC + 'on_warning = "maybe"\n', "on_warning", '"up" or "down"'),
    ],
)
def test_bad_checks_are_named_with_key_and_remedy(text: str, key: str, what: str) -> None:
    lines = problems(with_check(text))
    assert any(f": checks[1].{key}" in line and what in line for line in lines), lines


@pytest.mark.parametrize(
    ("text", "key", "what"),
    [
        ('command = ["page"]\non = ["weather"]', "on[0]", '"check" or "group"'),
        ('command = ["page"]\nonly = ["wbe"]', "only[0]", 'check or group "wbe"'),
        ("command = []", "command", "at least one"),
        ('command = ["a=b"]', "command", '"="'),
        ('command = ["page"]\ntimeout = "0s"', "timeout", "0.001"),
    ],
)
def test_bad_hooks_are_named_with_key_and_remedy(text: str, key: str, what: str) -> None:
    lines = problems(f'{GOOD}\n[[hooks]]\nname = "page"\n{text}\n')
    assert any(f": hooks[0].{key}: " in line and what in line for line in lines), lines


def test_the_files_of_a_client_certificate(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    ours, other = authority.issue("edge"), authority.issue("other")

    def text(certificate: Path, key: Path) -> str:
        return with_check(HTTPS + f'client_certificate = "{certificate}"\nclient_key = "{key}"\n')

    assert loads(text(ours.certificate, ours.key))
    (line,) = problems(text(ours.certificate, other.key))
    assert "client_certificate" in line
    assert "key values mismatch" in line
    ours.key.chmod(0o640)
    (line,) = problems(text(ours.certificate, ours.key))
    assert "client_key" in line
    assert "chmod 600" in line
    assert loads(text(ours.certificate, ours.key), check_secrets=False), "not on this machine"


@given(st.text(max_size=40))
def test_whatever_is_written_as_a_pattern_is_quick_or_refused(pattern: str) -> None:
    try:
        searches = compiled(pattern)
    except ValueError as error:
        assert "RE2" in str(error)  # noqa: PT017
        return
    started = time.process_time()
    searches.search(b"ab" * 32_000)
    assert time.process_time() - started < 0.5


@given(st.text(max_size=60), st.sampled_from(["A", "MX", "TXT", "SOA", "TYPE65280"]))
def test_whatever_is_written_of_dns_is_right_or_refused(text: str, kind: str) -> None:
    for parse in (dnsvalues.name, dnsvalues.rcode, dnsvalues.record_type):
        try:
            parse(text)
        except ValueError as error:
            assert str(error)  # noqa: PT017
    try:
        dnsvalues.record(kind, text)
    except ValueError as error:
        assert kind in str(error)  # noqa: PT017


@pytest.mark.parametrize(
    "url",
    ["http://[fe80::1%eth0]/", "http://192.0.2.1:0/", "http://192.0.2.1/a\\tb"],
)
def test_a_url_is_probed_as_it_is_written_or_refused(url: str) -> None:
    (line,) = problems(with_check(f'type = "http"\nurl = "{url}"\n'))
    assert "checks[1].url" in line


def test_a_query_has_no_line_breaks_for_the_log() -> None:
    (line,) = problems(with_check(DNS.replace("www.", "www\\n.")))
    assert "checks[1].query" in line
    assert line.isprintable()
