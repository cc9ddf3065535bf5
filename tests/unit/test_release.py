"""An operator is told which release runs."""

from __future__ import annotations

from pathlib import Path

from edgenode import __version__
from edgenode.release import RELEASE, release_of


def test_a_plain_hosts_release_is_its_directory() -> None:
    code = "/opt/edgenode/versions/0.1.0-0a1b2c3d4e/lib/python3.13/site-packages/edgenode"
    assert release_of(Path(code)) == "0.1.0-0a1b2c3d4e"


def test_the_appliances_release_is_its_extensions(tmp_path: Path) -> None:
    package = tmp_path / "usr/lib/edgenode/edgenode"
    assert release_of(package, tmp_path) == __version__
    told = tmp_path / "usr/lib/extension-release.d/extension-release.edgenode"
    told.parent.mkdir(parents=True)
    told.write_text("ID=debian\nSYSEXT_VERSION_ID=0.1.0-17\n")
    assert release_of(package, tmp_path) == "0.1.0-17"
    assert release_of(tmp_path / "home/edgenode", tmp_path) == __version__


def test_a_checkout_has_its_version_alone() -> None:
    assert __version__ == RELEASE
