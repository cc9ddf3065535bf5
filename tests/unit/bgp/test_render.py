from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgenode.bgp.levels import STANDING, Level
from edgenode.bgp.names import static_name
from edgenode.bgp.offline import installed_version, program
from edgenode.bgp.protocols import families
from edgenode.bgp.render import (
    configuration_fingerprint,
    render,
    render_secrets,
    secrets_file,
)
from edgenode.config import Config
from edgenode.config.secrets import password
from tests.unit.bgp.strategies import raws, towards

MakeConfig = Callable[..., Config]
BIRD = program()
VERSION = installed_version(BIRD)


def block(text: str, start: str) -> str:
    """The part of a configuration from `start` to the brace that ends it."""
    return text.split(start)[1].split("\n}\n")[0]


def enabled(config: Config, text: str) -> set[str]:
    names = {
        static_name(group.name, version, level)
        for group in config.groups
        for version in families(group)
        for level in STANDING
    }
    return {name for name in names if "disabled;" not in block(text, f"{name} {{")}


def test_as_a_file_nothing_is_enabled(config: Config) -> None:
    assert enabled(config, render(config, {})) == set()
    assert enabled(config, render(config, {"web": Level.WITHDRAWN})) == set()


def test_just_the_level_is_enabled(config: Config) -> None:
    text = render(config, {"web": Level.DRAINED, "dns": Level.NORMAL})
    assert enabled(config, text) == {"web_v4_drained", "web_v6_drained", "dns_v4_normal"}


def test_the_more_cautious_route_is_preferred(config: Config) -> None:
    text = render(config, {})
    assert "preference 205" in block(text, "web_v4_degraded {")
    assert "preference 200" in block(text, "web_v4_normal {")
    assert "preference 210" in block(text, "web_v4_drained {")


def test_what_hangs_on_the_lifeline_and_what_does_not(config: Config) -> None:
    text = render(config, {})
    assert 'route 203.0.113.0/24 via "edgenode0";' in block(text, "web_v4_normal {")
    assert "route 192.0.2.0/24 blackhole;" in block(text, "dns_v4_drained {")
    assert "protocol kernel" not in text


def test_a_session_says_everything_that_has_a_doubtful_default(config: Config) -> None:
    text = block(render(config, {}), "protocol bgp transit_bgp {")
    for option in (
        "hold time 9",
        "keepalive time 3",
        "graceful restart off",
        "long lived graceful restart off",
        "direct",
        "import none",
        "next hop self",
    ):
        assert f" {option};\n" in text
    assert "ttl security" not in text
    assert "password" not in text


def test_options_of_a_session(make_config: MakeConfig) -> None:
    neighbor = {
        "name": "far",
        "address": "198.51.100.3",
        "asn": 64601,
        "source": "198.51.100.2",
        "multihop": 2,
        "ttl_security": True,
        "password_file": "/nonexistent",
    }
    bgp = {"asn": 64701, "router_id": "198.51.100.1", "neighbors": [neighbor]}
    config = make_config(bgp=bgp)
    text = render(config, {})
    session = block(text, "protocol bgp far_bgp {")
    for option in ("local 198.51.100.2 as 64701", "multihop 2", "ttl security on"):
        assert f" {option};\n" in session
    assert "  password far_password;\n" in session
    assert 'include "bird-secrets.conf";\n' in text
    assert render_secrets(config, {"far": "s e#cret"}).endswith(
        'define far_password = "s e#cret";\n'
    )
    assert "s e#cret" not in text


def test_the_fingerprint_follows_text_and_passwords_but_not_levels(
    config: Config, make_config: MakeConfig
) -> None:
    plain = configuration_fingerprint(config, {})
    assert plain == configuration_fingerprint(make_config(), {})
    other = make_config(node={"name": "lon1"}, lifeline={"device": "other0"})
    assert configuration_fingerprint(other, {}) != plain
    neighbor = {"name": "t", "address": "198.51.100.3", "asn": 1, "password_file": "/p"}
    bgp = {"asn": 64701, "router_id": "198.51.100.1", "neighbors": [neighbor]}
    secret = make_config(bgp=bgp)
    assert configuration_fingerprint(secret, {"t": "a"}) != configuration_fingerprint(
        secret, {"t": "b"}
    )


@pytest.mark.parametrize("text", ["", 'a"b', "a\nb", "é", "a" * 81, "tab\t"])
def test_passwords_that_bird_cannot_read_are_refused_without_showing_them(text: str) -> None:
    with pytest.raises(ValueError, match="printable ASCII") as caught:
        password(text)
    assert not text or text not in str(caught.value)


def test_a_password_that_is_refused_is_told_by_its_file(make_config: MakeConfig) -> None:
    neighbor = {"name": "t", "address": "198.51.100.3", "asn": 1, "password_file": "/etc/t.md5"}
    bgp = {"asn": 2, "router_id": "0.0.0.1", "neighbors": [neighbor]}
    with pytest.raises(ValueError, match=r"^/etc/t\.md5: a BGP password is"):
        render_secrets(make_config(bgp=bgp), {"t": 'a"b'})


@pytest.mark.parametrize("name", ['a".conf', "a b.conf", "a;.conf"])
def test_file_names_that_would_end_the_string_are_refused(
    name: str, make_config: MakeConfig
) -> None:
    neighbor = {"name": "t", "address": "198.51.100.3", "asn": 1, "password_file": "/p"}
    bgp = {"asn": 1, "router_id": "0.0.0.1", "neighbors": [neighbor], "config": f"/x/{name}"}
    with pytest.raises(ValueError, match="no plain file name"):
        render(make_config(bgp=bgp), {})


@pytest.mark.skipif(BIRD is None, reason="needs BIRD's parser")
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(raw=raws(), data=st.data())
def test_bird_takes_whatever_the_schema_takes(
    raw: dict[str, Any], data: st.DataObject, tmp_path: Path
) -> None:
    config = Config.model_validate(raw)
    levels = {g.name: data.draw(st.sampled_from(list(Level))) for g in config.groups}
    secret = st.text(
        st.characters(min_codepoint=32, max_codepoint=126, exclude_characters='"'),
        min_size=1,
        max_size=80,
    )
    passwords = {n.name: data.draw(secret) for n in config.bgp.neighbors if n.password_file}
    path = tmp_path / "bird.conf"
    path.write_text(
        render(config, levels, "0123456789abcdef", towards=data.draw(towards(raw)), version=VERSION)
    )
    secrets_file(path).write_text(render_secrets(config, passwords))
    done = subprocess.run(
        [str(BIRD), "-p", "-c", str(path)], capture_output=True, text=True, timeout=10, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr, "no warning either"


HOSTILE = st.text() | st.sampled_from(
    ['x"; } protocol static { route 0.0.0.0/0 blackhole; } #', "a\nb", "a;b", "x{", "é", "", "/*"]
)
SAFE = re.compile(r"[A-Za-z0-9_.+-]+")


@given(st.sampled_from(["group", "neighbor", "device", "file"]), HOSTILE)
def test_what_would_not_be_one_word_to_bird_never_reaches_it(
    config: Config, where: str, text: str
) -> None:
    """Past the schema, too: `model_copy` asks nothing."""
    neighbor = config.bgp.neighbors[0]
    file = Path("/etc/bird") / Path(text).name
    changed: dict[str, object]
    match where:
        case "group":
            changed = {"groups": (config.groups[0].model_copy(update={"name": text}),)}
        case "neighbor":
            named = (neighbor.model_copy(update={"name": text}),)
            changed = {"bgp": config.bgp.model_copy(update={"neighbors": named})}
        case "device":
            changed = {"lifeline": config.lifeline.model_copy(update={"device": text})}
        case _:
            secret = (neighbor.model_copy(update={"password_file": Path("/none")}),)
            update = {"neighbors": secret, "config": file}
            changed = {"bgp": config.bgp.model_copy(update=update)}
    try:
        rendered = render(config.model_copy(update=changed), {})
    except ValueError:
        return
    assert SAFE.fullmatch(file.name if where == "file" else text)
    assert rendered.isascii()


@given(HOSTILE)
def test_names_that_bird_need_not_know_are_not_told(config: Config, text: str) -> None:
    changed = {
        "node": config.node.model_copy(update={"name": text}),
        "checks": (config.checks[0].model_copy(update={"name": text}),),
    }
    assert render(config.model_copy(update=changed), {}) == render(config, {})
