"""[registry]: what is refused, and with which words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgenode.config import ConfigError, loads
from edgenode.config.registry import EtcdUrl

BASE = """\
[node]
name = "lon1"
[bgp]
asn = 64700
router_id = "192.0.2.250"
[[bgp.neighbors]]
name = "transit"
address = "192.0.2.254"
asn = 64601
[[groups]]
name = "web"
prefixes = ["203.0.113.0/24"]
addresses = ["203.0.113.1"]
checks = ["proxy"]
[[checks]]
name = "proxy"
type = "tcp"
target = "203.0.113.1:80"
[[regions]]
name = "fra"
"""


def refused(registry: str, base: str = BASE) -> str:
    with pytest.raises(ConfigError) as caught:
        loads(base + registry)
    return str(caught.value)


def test_a_region_without_workers_needs_a_registry() -> None:
    assert 'region "fra" has no worker: name one, or have them register' in refused("")
    config = loads(BASE + '[registry]\nendpoints = ["https://etcd1.example.net:2379"]\n')
    assert config.registry
    assert config.registry.prefix == "/edgenode"
    assert config.regions[0].workers == ()


@pytest.mark.parametrize(
    "url",
    [
        *("etcd1:2379", "https://etcd1", "https://a:b@etcd1:2379", "ftp://etcd1:2379"),
        *("https://:2379", "https://etcd1:2379/v3", "https://etcd1:0", "https://et_cd:2379"),
        *("https://a\n:2379", ""),
    ],
)
def test_what_is_no_endpoint(url: str) -> None:
    with pytest.raises(ValueError, match=r'write "https://etcd1\.example\.net:2379"|port'):
        EtcdUrl.parse(url)


@pytest.mark.parametrize("url", ["https://etcd1.example.net:2379", "http://[2001:db8::1]:2379"])
def test_endpoints_are_spelled_as_they_were_written(url: str) -> None:
    assert str(EtcdUrl.parse(url)) == url


SECURE = 'endpoints = ["https://etcd1:2379"]\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (SECURE + 'user = "edge"', "user and password_file go together"),
        (SECURE + 'cert_file = "/x"', "cert_file and key_file go together"),
        ('endpoints = ["http://192.0.2.9:2379"]\nca_file = "/x"', "is no https, for which ca_file"),
        (
            'endpoints = ["http://192.0.2.9:2379"]\nuser = "a"\npassword_file = "/x"',
            "would carry the password in the clear: write https",
        ),
        ('endpoints = ["https://203.0.113.9:2379"]', "is in a prefix that is announced here"),
        ('endpoints = ["https://a:1", "https://a:1"]', "stands here twice"),
        ("endpoints = []", "is empty: write at least one"),
        (SECURE + 'prefix = "edge/"', "must match"),
        (SECURE + 'hold = "1s"', "registry.hold: 1 s is shorter than linger (10 s)"),
        (SECURE + 'timeout = "1h"', "to 60 s"),
        (SECURE + 'prefixes = "/edge"', 'did you mean "prefix"?'),
    ],
)
def test_what_does_not_go_together(text: str, said: str) -> None:
    assert said in refused(f"[registry]\n{text}\n")


def test_files_of_secrets_are_looked_at(tmp_path: Path) -> None:
    open_to_all = tmp_path / "password"
    open_to_all.write_text("secret\n")
    open_to_all.chmod(0o644)
    text = f'[registry]\n{SECURE}user = "edge"\npassword_file = "{open_to_all}"\n'
    said = refused(text)
    assert f"chmod 600 {open_to_all}" in said
    assert "secret\n" not in said
    open_to_all.chmod(0o600)
    assert loads(BASE + text).registry
    no_ca = f'[registry]\n{SECURE}ca_file = "{open_to_all}"\n'
    assert "cannot be used as certificates (PEM)" in refused(no_ca)


@pytest.mark.parametrize(
    "endpoints",
    [
        '["https://user:pw@a:2379"]',
        '"https://user:pw@a:2379"',
        '["user:pw@a:2379"]',
        '["user:pw//more@a:2379"]',
        f'["https://user:pw{"x" * 60}@a:2379"]',
        '["https://user:p@w:pw/@a:2379"]',
        '[["https://user:pw@a:2379"], "https://user:pw@a:2379"]',
    ],
)
def test_a_password_that_does_not_belong_there_is_not_shown(endpoints: str) -> None:
    said = refused(f"[registry]\nendpoints = {endpoints}\n")
    assert "pw" not in said
    assert "…@a:2379" in said


def test_it_may_change_while_control_runs() -> None:
    from edgenode.config.difference import difference, needs_restart

    one: Any = loads(BASE + f"[registry]\n{SECURE}")
    two = loads(BASE + f'[registry]\n{SECURE}prefix = "/other"\n')
    assert needs_restart(one, two) == []
    assert difference(one, two) == ['+ registry.prefix: "/other"']
