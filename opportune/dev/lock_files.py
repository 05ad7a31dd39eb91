"""Read the lock files in requirements/: names, versions, hashes, and which package needs which."""

import re
from pathlib import Path
from typing import NamedTuple

from packaging.markers import Marker

_PIN = re.compile(r"(?P<name>[A-Za-z0-9._-]+)(?:\[[^\]]*\])?==(?P<version>[^ ;\\]+)(?: ; (?P<marker>[^\\]+))?")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
PROJECT = "opportune"


class Package(NamedTuple):
    """A locked package.

    sha256: of each file that the lock accepts.
    needed_by: the packages that require it. `PROJECT` is our own.
    """

    name: str
    version: str
    marker: str
    sha256: tuple[str, ...]
    needed_by: tuple[str, ...]

    def fits(self, environment: dict[str, str]) -> bool:
        """Return whether the package is installed in *environment*, the values of markers."""
        return not self.marker or Marker(self.marker).evaluate(environment)


def read_lock(path: Path) -> list[Package]:
    """Return the packages of the lock file *path*; raise `ValueError` for a package without a hash."""
    found = []
    for block in re.split(r"\n(?=[A-Za-z0-9])", "\n" + path.read_text(encoding="utf-8")):
        pin = _PIN.match(block.strip())
        if pin is None:
            continue
        hashes = tuple(_HASH.findall(block))
        if not hashes:
            raise ValueError(f"{path}: {pin['name']} has no hash: write the lock again with `make lock`")
        comments = [line.strip(" #") for line in block.splitlines() if line.strip().startswith("#")]
        needed_by = (each.removeprefix("via").strip().partition(" (")[0] for each in comments)
        parents = tuple(each for each in needed_by if re.fullmatch(r"[a-z0-9][a-z0-9._-]*", each))
        marker = (pin["marker"] or "").strip()
        found.append(Package(pin["name"], pin["version"], marker, hashes, parents))
    return found
