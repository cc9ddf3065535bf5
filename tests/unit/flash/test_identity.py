"""What an operator writes as a node's identity, what is refused, and what the node takes in."""

from __future__ import annotations

import importlib.util
import subprocess
import tempfile
from collections.abc import Callable
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgenode.config.errors import ConfigError
from edgenode.flash.identity import MAGIC, MOST, load_identity, packed

PROJECT = Path(__file__).parents[3]
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEbmhSuzzlz8AOlzcQw8XyjYlY6yz0n2T7Y4Gm2Wqfzd operator"
UPLINK = "[Match]\nMACAddress=52:54:00:00:00:02\n\n[Network]\nAddress=192.0.2.10/24\n"
FIELDS = ("", "hostname = ", "authorized_keys = ", "ssh_host_key_file = ", "[network]\n")
PLAIN = f'hostname = "lon1"\nauthorized_keys = ["{KEY}"]\n'


def _node_side() -> ModuleType:
    path = str(PROJECT / "images/mkosi/mkosi.extra/usr/lib/edgenode-image/identity")
    loader = SourceFileLoader("identity_of_the_node", path)
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


NODE = _node_side()


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "identity.toml"
    path.write_text(text)
    return path


def take_in(tmp_path: Path, blob: bytes) -> tuple[str | None, Path, bytes]:
    device, var = tmp_path / "device", tmp_path / "var"
    device.write_bytes(blob.ljust(MOST, b"\0"))
    var.mkdir(exist_ok=True)
    name = NODE.take_in(str(device), str(var))
    return name, var / "etc", device.read_bytes()


def test_the_node_has_what_was_written_and_nothing_is_left_where_it_lay(tmp_path: Path) -> None:
    key = tmp_path / "host"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    text = f'{PLAIN}ssh_host_key_file = "host"\n[network]\n"10-up.network" = """\n{UPLINK}"""\n'
    blob = packed(load_identity(written(tmp_path, text)))
    name, etc, left = take_in(tmp_path, blob)
    assert name == "lon1"
    assert (etc / "hostname").read_text() == "lon1\n"
    assert (etc / "ssh/authorized_keys/root").read_text() == f"{KEY}\n"
    assert (etc / "network/10-up.network").read_text() == UPLINK
    assert (etc / "network/10-up.network").stat().st_mode & 0o777 == 0o644
    assert (etc / "ssh/ssh_host_ed25519_key").read_bytes() == key.read_bytes()
    assert (etc / "ssh/ssh_host_ed25519_key").stat().st_mode & 0o777 == 0o600
    public = (etc / "ssh/ssh_host_ed25519_key.pub").read_text().split()[:2]
    assert public == key.with_suffix(".pub").read_text().split()[:2]
    assert left == bytes(MOST)
    (etc / "hostname").write_text("renamed\n")
    assert NODE.take_in(str(tmp_path / "device"), str(tmp_path / "var")) is None
    assert (etc / "hostname").read_text() == "renamed\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "hostname"),
        (PLAIN.replace("lon1", "Lon 1"), "hostname"),
        (PLAIN.replace("lon1", "a" * 64), "hostname"),
        (PLAIN + 'password = "x"\n', "password"),
        ('hostname = "lon1"\nauthorized_keys = []\n', "authorized_keys"),
        ('hostname = "lon1"\nauthorized_keys = ["hunter2"]\n', "is no SSH public key"),
        (PLAIN + '[network]\n"../x.network" = "[Match]"\n', "network"),
        (PLAIN + '[network]\n"a.network" = "Address"\n', "line 1 is no line of systemd-networkd's"),
        (PLAIN + '[network]\n"a.network" = "A=b"\n', "has no section"),
        (PLAIN + 'ssh_host_key_file = "none"\n', "No such file"),
        (PLAIN + 'ssh_host_key_file = "a\\u0000b"\n', "ssh_host_key_file"),
        (PLAIN.replace("operator", "a\\nb"), "is no SSH public key"),
        (PLAIN.replace("operator", "a\\u0000b"), "is no SSH public key"),
        (PLAIN + '[network]\n"a.network" = "[Match]\\nName=a\\u0000"\n', "line 2 is no line"),
        (PLAIN + '[network]\n"a.netdev" = "[WireGuard]\\nPrivateKey=hunter2"\n', "has a secret"),
        (PLAIN + '[network]\n"a.netdev" = "[WireGuard]\\nhunter2"\n', "line 2 is no line"),
        ("hostname = [", "is no TOML"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_identity(written(tmp_path, text))
    assert said in str(caught.value)
    assert "[network]" not in text or "hunter2" not in str(caught.value), "it may be a secret"


@settings(max_examples=25)
@given(st.sampled_from(FIELDS), st.text(max_size=80))
def test_whatever_is_written_the_error_names_the_file(field: str, text: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "identity.toml"
        path.write_text(field + text)
        with pytest.raises(ConfigError) as caught:
            load_identity(path)
        assert str(path) in str(caught.value)


def test_a_name_of_a_credential_or_of_a_file_is_no_secret(tmp_path: Path) -> None:
    wireguard = "[WireGuard]\nPrivateKey=@wg.key\nPresharedKeyFile=/var/etc/wg.psk\n"
    text = f'{PLAIN}[network]\n"a.netdev" = """\n{wireguard}"""\n'
    assert load_identity(written(tmp_path, text))["network/a.netdev"] == wireguard.encode()


def test_a_host_key_that_others_can_read_or_that_is_none_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, PLAIN + 'ssh_host_key_file = "host"\n')
    (tmp_path / "host").write_text("no key")
    (tmp_path / "host").chmod(0o644)
    with pytest.raises(ConfigError, match="can be read by others"):
        load_identity(path)
    (tmp_path / "host").chmod(0o600)
    with pytest.raises(ConfigError, match="is no ed25519 key") as caught:
        load_identity(path)
    assert "no key\n" not in str(caught.value)


def damaged(blob: bytes) -> bytes:
    return blob[:-2000] + b"x" + blob[-1999:]


@pytest.mark.parametrize(
    "spoil",
    [
        damaged,
        lambda blob: blob[:600],
        lambda blob: b"x" + blob[1:],
        lambda blob: MAGIC + b"9999999999999 x\n",
    ],
)
def test_what_is_damaged_is_not_taken_in(tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    blob = packed(load_identity(written(tmp_path, PLAIN)))
    with pytest.raises(ValueError, match=r"damaged|another form"):
        take_in(tmp_path, spoil(blob))
    assert not (tmp_path / "var/etc/hostname").exists()


@pytest.mark.parametrize("name", ["../../usr/x", "/etc/passwd", "edgenode/edgenode.toml", "ssh/x"])
def test_nothing_else_is_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="it has"):
        take_in(tmp_path, packed({"hostname": b"lon1\n", name: b"x"}))
    assert not (tmp_path / "var/etc").exists()


@given(st.binary(max_size=300))
def test_random_bytes_are_refused_in_order(blob: bytes) -> None:
    with pytest.raises(ValueError):
        NODE.unpacked(MAGIC + blob)


def test_too_much_is_said() -> None:
    with pytest.raises(ValueError, match="at most"):
        packed({"network/a.network": bytes(MOST)})
