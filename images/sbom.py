#!/usr/bin/env python3
"""A bill of materials for an artefact of the image build: CycloneDX 1.6, as JSON.

    sbom.py ARTEFACT --version V [--manifest FILE] [--contains FILE]... > ARTEFACT.cdx.json

`--manifest` is mkosi's, of the image in it: each Debian package, down to the version,
as a component with its package URL. `--contains` names artefacts that are in this one, as the
extension is in the image: components with their hashes. The same artefact gives the same bytes.
Sources: CycloneDX 1.6's JSON schema, and purl-spec's types/deb.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import quote

DISTRO = "debian-13"


def bill(
    artefact: Path, version: str, packages: list[dict[str, str]], contains: list[Path]
) -> dict[str, Any]:
    """The document. `packages`: as in mkosi's manifest. Raises KeyError for other ones."""
    whole = component(artefact, version)
    parts = [component(each, version) for each in contains]
    parts += [debian(package) for package in packages]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": uuid.uuid5(uuid.NAMESPACE_OID, whole["hashes"][0]["content"]).urn,
        "version": 1,
        "metadata": {"component": whole},
        "components": parts,
        "dependencies": [
            {"ref": whole["bom-ref"], "dependsOn": sorted(part["bom-ref"] for part in parts)}
        ],
    }


def component(file: Path, version: str) -> dict[str, Any]:
    """One of our own artefacts."""
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    return {
        "type": "firmware" if file.name.startswith("edgenode-os") else "application",
        "bom-ref": file.name,
        "name": file.name,
        "version": version,
        "hashes": [{"alg": "SHA-256", "content": digest}],
    }


def debian(package: dict[str, str]) -> dict[str, Any]:
    """A Debian package, by its package URL."""
    name, version, arch = package["name"], package["version"], package["architecture"]
    purl = f"pkg:deb/debian/{quote(name)}@{quote(version)}?arch={arch}&distro={DISTRO}"
    return {
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": version,
        "purl": purl,
    }


def main() -> None:
    """Writes to standard output. Status 1 where a file cannot be read or is no manifest."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("artefact", type=Path)
    parser.add_argument("--version", required=True)
    parser.add_argument("--manifest", type=Path)
    parser.add_argument("--contains", type=Path, action="append", default=[])
    asked = parser.parse_args()
    try:
        packages = json.loads(asked.manifest.read_text())["packages"] if asked.manifest else []
        found = bill(asked.artefact, asked.version, packages, asked.contains)
    except OSError as error:
        sys.exit(f"sbom: {error.filename}: {error.strerror}")
    except (ValueError, KeyError, TypeError) as error:
        sys.exit(f"sbom: {asked.manifest} is no manifest of mkosi: {error!r}")
    json.dump(found, sys.stdout, indent=1, sort_keys=True)
    print()


if __name__ == "__main__":
    main()
