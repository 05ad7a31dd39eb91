"""Write the bill of materials of an artefact in CycloneDX 1.6: what its lock file installs, with hashes and licences.

    python -m opportune.dev.sbom NAME LOCK OUTPUT

The same lock always makes the same file. So a difference between two files is a difference between two artefacts.
"""

import json
import sys
import uuid
from importlib import metadata
from pathlib import Path
from typing import Any

from opportune.dev.lock_files import PROJECT, Package, read_lock

SPEC = "1.6"
# What Lambda runs. Packages for other systems are not in an artefact.
LAMBDA = {
    "python_version": "3.13",
    "python_full_version": "3.13.0",
    "implementation_name": "cpython",
    "implementation_version": "3.13.0",
    "platform_python_implementation": "CPython",
    "sys_platform": "linux",
    "platform_system": "Linux",
    "platform_machine": "aarch64",
    "platform_release": "",
    "platform_version": "",
    "os_name": "posix",
    "extra": "",
}
_NAMESPACE = uuid.UUID("6f1d2b52-7d3c-5c2e-9a54-0d7a5b0d6c11")
MAX_LICENCE = 80  # some packages have the whole text in this field


def make_bom(name: str, version: str, packages: list[Package]) -> dict[str, Any]:
    """Return the bill of materials of the artefact *name*."""
    installed = [package for package in packages if package.fits(LAMBDA)]
    root = f"opportune-{name}@{version}"
    refs = {package.name: _purl(package) for package in installed}
    # A lock may leave out a package that another one came with.
    direct = [
        refs[each.name] for each in installed if PROJECT in each.needed_by or refs.keys().isdisjoint(each.needed_by)
    ]
    dependencies = [{"ref": root, "dependsOn": sorted(direct)}]
    for package in installed:
        below = sorted(refs[each.name] for each in installed if package.name in each.needed_by)
        dependencies.append({"ref": refs[package.name], "dependsOn": below})
    content = {
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": root,
                "name": f"opportune-{name}",
                "version": version,
                "licenses": [{"license": {"id": "Apache-2.0"}}],
            }
        },
        "components": [_describe(package) for package in installed],
        "dependencies": dependencies,
    }
    serial = uuid.uuid5(_NAMESPACE, json.dumps(content, sort_keys=True))
    return {
        "$schema": f"http://cyclonedx.org/schema/bom-{SPEC}.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": SPEC,
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        **content,
    }


def _describe(package: Package) -> dict[str, Any]:
    licences = _read_licences(package.name)
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": _purl(package),
        "name": package.name,
        "version": package.version,
        "purl": _purl(package),
    }
    if licences:
        component["licenses"] = licences
    # The lock accepts several files of a package. One of them is installed, and its hash is among these.
    component["externalReferences"] = [
        {
            "type": "distribution",
            "url": _purl(package),
            "hashes": [{"alg": "SHA-256", "content": each} for each in package.sha256],
        }
    ]
    return component


def _purl(package: Package) -> str:
    return f"pkg:pypi/{package.name}@{package.version}"


def _read_licences(name: str) -> list[dict[str, Any]]:
    """Return the licences that the installed package *name* states; an empty list if they are not known."""
    try:
        found = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        return []
    if expressions := found.get_all("License-Expression"):
        return [{"expression": str(expressions[0])}]
    classified = [
        each.rpartition(" :: ")[2] for each in found.get_all("Classifier") or [] if each.startswith("License ::")
    ]
    stated = str((found.get_all("License") or [""])[0]).strip()
    names = classified or ([stated] if stated and len(stated) <= MAX_LICENCE and "\n" not in stated else [])
    return [{"license": {"name": each}} for each in names]


def main(arguments: list[str]) -> int:
    """Write the file; return the exit code."""
    name, lock, output = arguments
    bom = make_bom(name, metadata.version("opportune"), read_lock(Path(lock)))
    path = Path(output)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(bom, indent=2) + "\n", encoding="utf-8")
    sys.stdout.write(f"{name}: {path}: {len(bom['components'])} packages\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
