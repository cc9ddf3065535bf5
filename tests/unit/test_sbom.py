"""What lies beside an artefact of the image build: its bill of materials, and the checksums."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path

PROJECT = Path(__file__).parents[2]
PACKAGES = [
    {"type": "deb", "name": "bird2", "version": "2.17.1-1", "architecture": "amd64"},
    {"type": "deb", "name": "g++", "version": "4:14.2.0-1", "architecture": "amd64"},
]


def bill(artefact: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [str(PROJECT / "images/sbom.py"), str(artefact), "--version", "1.2.3", *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def publish(source: Path, to: Path) -> subprocess.CompletedProcess[str]:
    parts = str(PROJECT / "images/parts.sh")
    command = ["bash", "-euc", '. "$1"; publish "$2" "$3"', "-", parts, str(source), str(to)]
    return subprocess.run(command, capture_output=True, text=True, check=True)


def holds(directory: Path) -> list[str]:
    """The names in SHA256SUMS, all of which are right."""
    command = ["sha256sum", "--check", "--strict", "--status", "SHA256SUMS"]
    subprocess.run(command, cwd=directory, check=True)
    return [line.split()[1] for line in (directory / "SHA256SUMS").read_text().splitlines()]


def test_each_package_and_what_is_contained_is_named_by_a_hash_or_a_url(tmp_path: Path) -> None:
    image, extension = tmp_path / "edgenode-os_1.2.3.raw", tmp_path / "edgenode_1.2.3.raw"
    image.write_bytes(b"image")
    extension.write_bytes(b"extension")
    manifest = tmp_path / "manifest"
    manifest.write_text(json.dumps({"manifest_version": 1, "packages": PACKAGES}))
    options = ("--manifest", str(manifest), "--contains", str(extension))
    text = bill(image, *options).stdout
    assert text == bill(image, *options).stdout, "the same artefact gives the same bytes"
    found = json.loads(text)
    assert found["specVersion"] == "1.6"
    of = found["metadata"]["component"]
    assert of["hashes"][0]["content"] == hashlib.sha256(b"image").hexdigest()
    assert [part.get("purl", part["name"]) for part in found["components"]] == [
        "edgenode_1.2.3.raw",
        "pkg:deb/debian/bird2@2.17.1-1?arch=amd64&distro=debian-13",
        "pkg:deb/debian/g%2B%2B@4%3A14.2.0-1?arch=amd64&distro=debian-13",
    ]
    assert len(found["dependencies"][0]["dependsOn"]) == 3
    image.write_bytes(b"another")
    assert json.loads(bill(image, *options).stdout)["serialNumber"] != found["serialNumber"]


def test_what_is_missing_or_no_manifest_is_said(tmp_path: Path) -> None:
    image, manifest = tmp_path / "image", tmp_path / "manifest"
    done = bill(image)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"sbom: {image}: No such file or directory\n"
    image.write_bytes(b"")
    manifest.write_text("[]")
    done = bill(image, "--manifest", str(manifest))
    assert (done.returncode, done.stdout) == (1, "")
    assert "is no manifest of mkosi" in done.stderr


def test_sums_are_of_all_that_lies_there_also_of_earlier_builds(tmp_path: Path) -> None:
    source, to = tmp_path / "from", tmp_path / "to"
    for directory in (source, to):
        directory.mkdir()
    (source / "one").write_text("1")
    (source / "two").write_text("2")
    publish(source, to)
    assert holds(to) == ["one", "two"]
    assert list(source.iterdir()) == []
    (to / "two").unlink()
    (source / "one").write_text("new")
    (source / "three").write_text("3")
    publish(source, to)
    assert holds(to) == ["one", "three"]
    assert {file.name for file in to.iterdir()} == {"one", "three", "SHA256SUMS"}
