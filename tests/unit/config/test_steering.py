"""Where services are steered: what contradicts itself is refused, and in which words."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgenode.config import ConfigError, loads
from tests.unit.config.test_config import GOOD

IAD = """[[regions]]
name = "iad"
workers = [{ name = "iad-1", addresses = ["198.51.100.202"] }]

[mesh]
"""
TWO = GOOD.replace('regions = ["fra"]\n', "").replace("[mesh]\n", IAD)
"""Two regions, and a service that uses both."""


def with_keys(header: str, text: str) -> str:
    """With more keys in the first table of a header."""
    assert f"{header}\n" in TWO
    return TWO.replace(f"{header}\n", f"{header}\n{text}\n", 1)


def test_the_defaults_ask_for_nothing() -> None:
    config = loads(TWO)
    service, region = config.services[0], config.regions[0]
    assert (service.prefer, service.exclude, service.pin, service.slow_start) == ((), (), None, 0)
    for limited in (region, region.workers[0]):
        assert (limited.soft_limit, limited.hard_limit, limited.draining) == (None, None, False)
    assert region.workers[0].weight == 1
    outliers = config.steering.outliers
    assert (outliers.failures, outliers.base_time) == (5, 30)
    assert (outliers.max_time, outliers.max_share) == (300, 0.5)
    dialing = config.steering.dialing
    assert (service.hedge, dialing.hedge_share, dialing.hedge_floor) == (True, 0.2, 10)
    assert not service.close_dead
    assert not service.client_first
    log = config.steering.access_log
    assert (log.file, log.sample, log.long_after) == (None, 1.0, 600)
    assert (service.warm, service.server_first, dialing.warm_age) == (0, False, 20)


def test_the_access_log_may_be_a_file_alone() -> None:
    short = loads(f'{TWO}\n[steering]\naccess_log = "/var/log/access"\n')
    long = loads(f'{TWO}\n[steering.access_log]\nfile = "/var/log/access"\nsample = 0\n')
    logs = short.steering.access_log, long.steering.access_log
    assert [log.file for log in logs] == [Path("/var/log/access")] * 2
    assert [log.sample for log in logs] == [1.0, 0.0]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('[steering]\naccess_log = "log"', r"-:\d+: steering\.access_log.*"),
        ('[steering]\naccess_log = "/a"\n[steering.access_log]\nsample = 1', "its key `file`"),
        ("[steering]\naccess_log = 7", r"-:\d+: steering\.access_log"),
        ("[steering.access_log]\nsample = 2", r"-:\d+: steering\.access_log\.sample.* 1"),
        ('[steering.access_log]\npath = "/x"', r"-:\d+: steering\.access_log\.path"),
    ],
)
def test_an_access_log_that_cannot_be_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loads(f"{TWO}\n{text}\n")
    assert re.search(complaint, "\n".join(caught.value.lines()))


@pytest.mark.parametrize(
    ("keys", "allowed"),
    [
        ("", ["fra", "iad"]),
        ('exclude = ["iad"]', ["fra"]),
        ('pin = "iad"', ["iad"]),
        ('pin = "iad"\nprefer = ["iad"]\nexclude = ["fra"]', ["iad"]),
        ('prefer = ["iad"]', ["fra", "iad"]),
    ],
)
def test_which_regions_a_service_may_use(keys: str, allowed: list[str]) -> None:
    config = loads(with_keys("[[services]]", keys))
    assert [region.name for region in config.regions_of(config.services[0])] == allowed


@pytest.mark.parametrize(
    ("header", "keys", "complaint"),
    [
        ("[[services]]", 'pin = "far"', r'services\[0\]\.pin: .*did you mean "fra"'),
        ("[[services]]", 'prefer = ["fra", "far"]', r"prefer\[1\]: nothing defines region"),
        ("[[services]]", 'exclude = ["fra", "fra"]', r'exclude\[1\]: region "fra" stands here'),
        ("[[services]]", 'pin = "fra"\nexclude = ["fra"]', r'pin: "fra" is excluded'),
        ("[[services]]", 'prefer = ["fra"]\nexclude = ["fra"]', r"prefer\[0\]: .*is excluded"),
        ("[[services]]", 'pin = "fra"\nprefer = ["iad"]', r'prefer\[0\]: .*pinned to "fra"'),
        ("[[services]]", 'exclude = ["iad", "fra"]', 'every region that service "web" may use'),
        ("[[services]]", "allow = []", r"allow: an empty list is none"),
        (
            "[[services]]",
            'deny = ["::ffff:192.0.2.0/120"]',
            r"deny\[0\]: .*write 192\.0\.2\.0/24",
        ),
        ("[[services]]", 'sni = ["192.0.2.1"]', r"sni\[0\]: .*no address as a name"),
        (
            "[[services]]",
            'sni = ["a.example"]\nserver_first = true',
            r"server_first: and sni or alpn cannot both be",
        ),
        (
            "[[services]]",
            'proxy_tlvs = ["authority"]\nserver_first = true',
            r"server_first: and proxy_tlvs with authority or alpn cannot both be",
        ),
        (
            "[[services]]",
            'allow = ["192.0.2.0/24"]\ndeny = ["192.0.2.0/24"]',
            r"deny\[0\]: 192.0.2.0/24 is allowed as well",
        ),
        ("[[services]]", 'deny = ["192.0.2.1/24"]', r'deny\[0\]: .*write "192.0.2.0/24"'),
        ("[[services]]", "limits = { burst = 5 }", r"limits.burst: means nothing without rate"),
        ("[[services]]", "limits = { source_burst = 5 }", r"means nothing without source_rate"),
        ("[[services]]", "limits = { rate = 0 }", r"limits.rate: .*above 0"),
        (
            "[[services]]",
            "limits = { connections = 5, per_source = 6 }",
            r"per_source: is above connections \(5\)",
        ),
        ("[[services]]", "limits = { source_prefix_v4 = 33 }", r"source_prefix_v4: .*32"),
        ("[[services]]", 'half_closed_timeout = "6m"', r"half_closed_timeout: is above idle"),
        ("[[services]]", 'lifetime = "0s"', r"lifetime: "),
        ("[[services]]", "warm = 257", r"services\[0\]\.warm: .*256"),
        (
            "[[services]]",
            "warm = 2\nserver_first = true",
            r"services\[0\]\.warm: .*speaks first would greet nobody",
        ),
        (
            "[[services]]",
            "client_first = true\nserver_first = true",
            r"services\[0\]\.client_first: and server_first cannot both be",
        ),
        ("[[services]]", "hedge = 1", r"services\[0\]\.hedge: .*write true or false"),
        ("[[services]]", 'close_dead = "yes"', r"services\[0\]\.close_dead: .*write true or false"),
        ("[[services]]", "slow_start = -1", r"slow_start: .*between 0 and a year"),
        ("[[regions]]", "soft_limit = 9\nhard_limit = 8", r"soft_limit: is above hard_limit \(8\)"),
        ("[[regions.workers]]", "soft_limit = 9\nhard_limit = 8", r"soft_limit: is above hard"),
        ("[[regions.workers]]", "hard_limit = 0", r"hard_limit: .*1"),
        ("[[regions.workers]]", "weight = 1001", "weight: .*1000"),
        ("[[regions.workers]]", 'draining = "yes"', "draining"),
    ],
)
def test_a_contradiction_is_named(header: str, keys: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loads(with_keys(header, keys))
    lines = str(caught.value).splitlines()
    assert len(lines) == 1, lines
    assert re.search(complaint, lines[0])


@pytest.mark.parametrize(
    ("header", "keys", "right"),
    [
        ("[[services]]", "hedge = 1", "1 is not right: write true or false, without quotes"),
        (
            "[[services]]",
            'limits = { rate = "50/s" }',
            "above 0 and at most 1000000, without",
        ),
        ("[[services]]", "limits = { rate = nan }", "nan is not right: write a number, above 0"),
        ("[[services]]", "limits = { rate = true }", "true is not right: write a number"),
        ("[[services]]", 'hello_timeout = "2m"', "write a duration from 0.1 s to 60 s"),
        ("[[services]]", 'slow_start = "2h"', "write a duration, at most 3600 s"),
        ("[[services]]", 'connect_timeout = "0s"', "write a duration, at least 0.001 s"),
        (
            "[[services]]",
            'warm = "1"',
            "a whole number from 0 to 256, without quotes or unit",
        ),
        ("[[services]]", "pin = 1", "1 is not right: write a text, with quotes around it"),
        ("[[services]]", 'proxy_protocol = "v3"', 'write "v2", "v1" or "none"'),
        ("[[services]]", 'proxy_tlvs = ["ssl"]', '"alpn", "unique-id" or "crc32c"'),
        ("[[regions.workers]]", "weight = 1.5", "write a whole number from 1 to 1000"),
    ],
)
def test_the_right_kind_of_value_is_told(header: str, keys: str, right: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loads(with_keys(header, keys))
    assert right in str(caught.value)


def test_what_is_outside_the_services_own_regions_cannot_be_pinned() -> None:
    own = 'regions = ["fra"]\n'
    for keys, complaint in {
        'pin = "iad"': 'pin: "iad" is not among the regions',
        'prefer = ["iad"]': 'prefer[0]: "iad" is not among the regions',
        'exclude = ["fra"]': "exclude: excludes every region",
    }.items():
        with pytest.raises(ConfigError) as caught:
            loads(with_keys("[[services]]", own + keys))
        assert complaint in str(caught.value)


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        ("hedge_share = 1.1", r"steering\.dialing\.hedge_share: .*1"),
        ("hedge_floor = -1", r"steering\.dialing\.hedge_floor: .*0"),
        ("hedge_floor = true", r"steering\.dialing\.hedge_floor"),
        ('warm_age = "0s"', r"steering\.dialing\.warm_age"),
        ("hedges = 5", r"steering\.dialing\.hedges"),
    ],
)
def test_budgets_that_cannot_be_are_refused(keys: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        loads(f"{TWO}\n[steering.dialing]\n{keys}\n")


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        ('base_time = "6m"', r"steering\.outliers\.base_time: is above max_time \(300 s\)"),
        ("max_share = 1.1", "max_share"),
        ("failures = -1", "failures"),
    ],
)
def test_outliers_that_cannot_be_are_refused(keys: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        loads(f"{TWO}\n[steering.outliers]\n{keys}\n")


API = """[[services]]
name = "api"
group = "web"
listen = ["203.0.113.1:80"]
port = 8081
KEYS
[[regions]]
"""


def with_api(api: str, web: str = "") -> str:
    """A second service on an address of the first."""
    return with_keys("[[services]]", web).replace("[[regions]]\n", API.replace("KEYS", api), 1)


@pytest.mark.parametrize(
    ("api", "web"),
    [
        ('sni = ["api.example.net"]', ""),
        ('alpn = ["h2"]', ""),
        ("", 'sni = ["*.example.net"]'),
        ('sni = ["a.example.net"]', 'sni = ["*.example.net", "b.example.net"]'),
        ('sni = ["a.example.net"]\nalpn = ["h2"]', 'sni = ["a.example.net"]'),
    ],
)
def test_services_share_an_address_that_tells_them_apart(api: str, web: str) -> None:
    assert len(loads(with_api(api, web)).services) == 2


@pytest.mark.parametrize(
    ("api", "web", "complaint"),
    [
        (
            "",
            "",
            r"services\[1\]\.listen: service .web. listens on 203.0.113.1:80 too, and neither",
        ),
        (
            'sni = ["A.example"]',
            'sni = ["a.example"]',
            r"services\[1\]\.sni: .* has .a.example. al",
        ),
        ('alpn = ["h2"]', 'alpn = ["h2"]', r"services\[1\]\.alpn: .* has all names with .h2. al"),
        ('sni = ["a"]\nhello_timeout = "1s"', "", r"services\[1\]\.hello_timeout: must be as of"),
        ('sni = ["a"]\naccept_proxy = ["192.0.2.0/24"]', "", r"\[1\]\.accept_proxy: must be as of"),
        ('sni = ["*"]', "", r"services\[1\]\.sni\[0\]: .*leave `sni` out for all names"),
        ('sni = ["a", "A."]', "", r"services\[1\]\.sni\[1\]: .* already defined"),
        ('alpn = ["h 2"]', "", r"services\[1\]\.alpn\[0\]: .*such as .h2."),
        (
            'sni = ["a"]\naccept_proxy = ["0.0.0.0/0"]',
            'accept_proxy = ["0.0.0.0/0"]',
            "is everybody",
        ),
        ('sni = ["a"]\nproxy_protocol = "v1"\nproxy_tlvs = ["alpn"]', "", 'it must be "v2"'),
        (
            'sni = ["a"]',
            "server_first = true",
            r"services\[0\]\.server_first: cannot be on 203.0.113.1:80, where service .api. is",
        ),
        (
            "server_first = true",
            'alpn = ["h2"]',
            r"services\[1\]\.server_first: cannot be on 203.0.113.1:80, where service .web. is",
        ),
        ('sni = ["a"]\nproxy_tlvs = ["ssl"]', "", r"services\[1\]\.proxy_tlvs\[0\]: .*authority"),
    ],
)
def test_services_that_nothing_tells_apart_are_refused(api: str, web: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loads(with_api(api, web))
    assert re.search(complaint, str(caught.value)), str(caught.value)


def test_an_address_twice_in_one_service_is_refused() -> None:
    text = TWO.replace('"[2001:db8:113::1]:80"]', '"203.0.113.1:80"]', 1)
    with pytest.raises(ConfigError, match=r"listen\[1\]: listen address .* already defined"):
        loads(text)
