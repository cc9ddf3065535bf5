"""`./run image`: what is refused before anything is built."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEbmhSuzzlz8AOlzcQw8XyjYlY6yz0n2T7Y4Gm2Wqfzd"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{KEY} operator\n", ""),
        (f'# team\n\nfrom="192.0.2.0/24" {KEY}\n{KEY}', ""),
        (f"{KEY}\nhunter2\n", "line 2 is no SSH public key"),
        (f"{KEY[:-8]}\n", "line 1 is no SSH public key"),
        ("# none\n", "there are no SSH public keys in it"),
    ],
)
def test_authorized_keys_are_looked_at_line_by_line(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "keys with spaces"
    file.write_text(text)
    assert strange_keys(file) == said


def test_a_private_key_does_not_get_into_an_image(tmp_path: Path) -> None:
    file = tmp_path / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", file], check=True)
    assert strange_keys(tmp_path / "id.pub") == ""
    assert strange_keys(file) == "line 1 is no SSH public key"


@pytest.mark.parametrize(
    "options",
    [["--foo"], ["--output"], ["--keys", ""], ["extra"]],
    ids=" ".join,
)
def test_wrong_options_are_said(options: list[str]) -> None:
    done = subprocess.run([PROJECT / "images/build", *options], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("image: ")


def strange_keys(file: Path) -> str:
    parts = str(PROJECT / "images/parts.sh")
    command = ["bash", "-euc", '. "$1"; strange_keys "$2"', "-", parts, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.strip()
