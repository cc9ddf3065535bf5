from __future__ import annotations

import configparser
from pathlib import Path

import pytest

from edgenode.system.errors import UpdateError
from edgenode.system.source import address, configured, fetch
from edgenode.system.transfers import transfers


def test_the_source_is_an_address_or_a_directory(tmp_path: Path) -> None:
    file = tmp_path / "updates.toml"
    file.write_text('source = "https://updates.example.net/edgenode/"\n')
    assert configured(file) == "https://updates.example.net/edgenode"
    file.write_text('source = "/srv/with space"\n')
    assert configured(file) == "file:///srv/with%20space"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "no source is configured: write"),
        ("source = 5", "source is a text"),
        ("", "source is a text"),
        ('sauce = "/srv"', "unknown key sauce; there is: source"),
        ("source = ", "is no TOML"),
        ('source = "ftp://192.0.2.1/x"', "is no source"),
        ('source = "https:///x"', "is no source"),
        ('source = "srv"', "is no source"),
        ('source = "https://192.0.2.1/a b"', "write %20"),
    ],
)
def test_what_is_no_source(tmp_path: Path, text: str | None, said: str) -> None:
    file = tmp_path / "updates.toml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(UpdateError, match=said):
        configured(file)


def test_what_cannot_be_had_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UpdateError, match=r"SHA256SUMS cannot be had: .*No such file"):
        fetch(f"{address(str(tmp_path))}/SHA256SUMS")
    (tmp_path / "endless").write_bytes(bytes(2 << 20))
    with pytest.raises(UpdateError, match="far larger"):
        fetch(f"{address(str(tmp_path))}/endless")


def test_transfers_verify_and_leave_the_version_that_runs() -> None:
    texts = transfers("file:///srv/with%20space", "1.0", Path("/dev/vda"), Path("/efi/EFI/Linux"))
    assert [name.split("-")[1] for name in sorted(texts)] == [
        "verity.transfer",
        "root.transfer",
        "kernel.transfer",
    ], "nothing boots what is not whole: the kernel image comes last"
    for text in texts.values():
        parsed = configparser.ConfigParser(interpolation=None)
        parsed.optionxform = str  # type: ignore[assignment, method-assign]
        parsed.read_string(text)
        assert dict(parsed["Transfer"]) == {"ProtectVersion": "1.0", "Verify": "yes"}
        assert parsed["Source"]["Path"] == "file:///srv/with%%20space"
        assert parsed["Target"]["InstancesMax"] == "2"
