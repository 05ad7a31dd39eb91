"""The bills of materials: what the CycloneDX schema requires, and that they name what the lock files install."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from opportune.dev import sbom
from opportune.dev.lock_files import PROJECT, read_lock
from tests.support.paths import ROOT

ARTEFACTS = ["runtime", "console"]
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
# From bom-1.6.schema.json: required fields, patterns and enumerations of what we write.
SERIAL = r"urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
SHA_256 = r"[a-fA-F0-9]{32}|[a-fA-F0-9]{40}|[a-fA-F0-9]{64}|[a-fA-F0-9]{96}|[a-fA-F0-9]{128}"
TOP = {"$schema", "bomFormat", "specVersion", "serialNumber", "version", "metadata", "components", "dependencies"}
COMPONENT = {"type", "bom-ref", "name", "version", "purl", "licenses", "externalReferences"}


def bom(artefact: str) -> dict[str, Any]:
    """Return the bill of an artefact."""
    return sbom.make_bom(artefact, "0.1.0", read_lock(ROOT / "requirements" / f"{artefact}.txt"))


def check_licences(licences: list[dict[str, Any]]) -> None:
    """Check that there is a list of licences with an id or a name, or one expression alone."""
    if any("expression" in each for each in licences):
        assert len(licences) == 1
        assert licences[0].keys() == {"expression"}
        return
    for each in licences:
        assert each.keys() == {"license"}
        assert len(each["license"].keys() & {"id", "name"}) == 1
        assert all(isinstance(value, str) and value for value in each["license"].values())


@pytest.mark.parametrize("artefact", ARTEFACTS)
def test_a_bill_has_what_the_schema_requires(artefact: str) -> None:
    """The schema allows no other fields. Each reference is unique and leads to a component."""
    found = bom(artefact)
    assert found.keys() == TOP
    assert (found["bomFormat"], found["specVersion"], found["version"]) == ("CycloneDX", "1.6", 1)
    assert re.fullmatch(SERIAL, found["serialNumber"])
    root = found["metadata"]["component"]
    assert (root["type"], root["name"]) == ("application", f"opportune-{artefact}")
    for each in found["components"]:
        assert each.keys() <= COMPONENT
        assert each["type"] == "library"
        assert each["name"]
        assert each["purl"] == f"pkg:pypi/{each['name']}@{each['version']}"
        check_licences(each.get("licenses", []))
        (reference,) = each["externalReferences"]
        assert reference["type"] == "distribution"
        assert reference["hashes"]
        for digest in reference["hashes"]:
            assert digest["alg"] == "SHA-256"
            assert re.fullmatch(SHA_256, digest["content"])
    refs = [root["bom-ref"], *(each["bom-ref"] for each in found["components"])]
    assert len(refs) == len(set(refs))
    assert [each["ref"] for each in found["dependencies"]] == refs
    for each in found["dependencies"]:
        assert set(each["dependsOn"]) <= set(refs)
        assert len(each["dependsOn"]) == len(set(each["dependsOn"]))


@pytest.mark.parametrize("artefact", ARTEFACTS)
def test_a_bill_names_every_locked_package_and_its_licence(artefact: str) -> None:
    """Each package is reachable from the artefact, so none was added unseen."""
    found = bom(artefact)
    lock = (ROOT / "requirements" / f"{artefact}.txt").read_text(encoding="utf-8")
    pinned = set(re.findall(r"^([a-z0-9._-]+)(?:\[.*\])?==", lock, flags=re.MULTILINE))
    named = {each["name"] for each in found["components"]}
    assert pinned - named == {each for each in pinned if re.search(rf"^{each}==\S+ ; .*win32", lock, re.MULTILINE)}
    assert [each["name"] for each in found["components"] if not each.get("licenses")] == []
    below = {each["ref"]: each["dependsOn"] for each in found["dependencies"]}
    todo, reached = [found["metadata"]["component"]["bom-ref"]], set[str]()
    while todo:
        ref = todo.pop()
        if ref not in reached:
            reached.add(ref)
            todo += below[ref]
    assert reached == set(below)


def test_the_same_lock_makes_the_same_file(tmp_path: Path) -> None:
    """There is no time and nothing random in it; another lock makes another serial number."""
    outputs = [tmp_path / name for name in ("a", "b", "c")]
    for output, artefact in zip(outputs, ("runtime", "runtime", "console"), strict=True):
        assert sbom.main([artefact, str(ROOT / "requirements" / f"{artefact}.txt"), str(output)]) == 0
    one, two, other = (output.read_text() for output in outputs)
    assert one == two
    assert json.loads(one)["serialNumber"] != json.loads(other)["serialNumber"]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_lock_pins_every_package_with_hashes(lock: Path) -> None:
    """No line of a lock installs something else: no address, no option, no open version."""
    packages = read_lock(lock)
    text = lock.read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and line[0] not in " #"]
    assert len(lines) == len(packages) > 0
    assert not re.search(r"https?://|file:|--(extra-)?index-url|--find-links|/(tmp|home|work|opt)/", text)
    if lock.stem in ARTEFACTS:
        assert any(PROJECT in package.needed_by for package in packages)


def test_a_package_without_a_hash_is_an_error(tmp_path: Path) -> None:
    """Such a lock would install whatever an index offers."""
    path = tmp_path / "lock.txt"
    path.write_text("six==1.17.0\n    # via python-dateutil\n")
    with pytest.raises(ValueError, match="six has no hash"):
        read_lock(path)
