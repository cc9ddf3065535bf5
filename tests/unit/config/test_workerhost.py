"""The configuration of a worker's host."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgenode.config import ConfigError
from edgenode.config.workerhost import WorkerHost, load_worker

DOCUMENT = Path(__file__).parents[3] / "docs" / "provisioning.md"

PLAIN = """\
region = "fra"
name = "fra-1"
addresses = ["198.51.100.201"]
[registry]
endpoints = ["https://etcd1.example.net:2379"]
"""


def refused(path: Path, text: str) -> str:
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_worker(path)
    return str(caught.value)


def test_the_documented_one_loads_with_its_defaults(tmp_path: Path) -> None:
    (text,) = re.findall(r"```toml\n(region = .*?)```", DOCUMENT.read_text(), re.S)
    password = tmp_path / "password"
    password.write_text("x\n")
    password.chmod(0o600)
    text = text.replace("/etc/edgenode/etcd.password", str(password))
    path = tmp_path / "worker.toml"
    path.write_text(text)
    plain = load_worker(path)
    illustrations = ("soft_limit", "hard_limit", "load_command")
    spelled = "\n".join(
        line[2:] if re.match(r"# \w+ = ", line) and not line[2:].startswith(illustrations) else line
        for line in text.splitlines()
    )
    path.write_text(spelled)
    assert load_worker(path) == plain
    for key in WorkerHost.model_fields:
        assert re.search(rf"\b{key}\b", text), key


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('region = "fra"', 'region = "FRA"', "worker.toml:1: region: "),
        ('name = "fra-1"', 'nam = "fra-1"', 'worker.toml:2: nam: unknown key; did you mean "name"'),
        ('name = "fra-1"', "", "name: is missing"),
        ("[registry]", 'lease = "1s"\n[registry]', "worker.toml:4: lease: "),
        ("[registry]", "soft_limit = 9\nhard_limit = 8\n[registry]", "is above hard_limit (8)"),
        ("[registry]", '[registry]\nuser = "x"', "user and password_file go together"),
        ('"198.51.100.201"', '"198.51.100.201", "198.51.100.201"', "stands here twice"),
        ("[registry]", "[registry]\nlook_interval = 1", "unknown key"),
        ("[registry]", "registry", "is no TOML"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert said in refused(tmp_path / "worker.toml", PLAIN.replace(old, new))
