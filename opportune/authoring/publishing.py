"""Publish a folder of definitions, and refresh targets: what the command line and the demo share."""

from collections.abc import Mapping
from pathlib import Path

from pymongo.database import Database

from definitions.loading import files
from definitions.model.definitions import Definitions
from definitions.publishing import publish as console
from definitions.publishing.publish import Published
from refresher.plan import ALL
from refresher.refresh import Refreshed, Way, refresh
from shared.clock import now_ms
from shared.contracts import WriteKey, write_key
from shared.errors import InvalidDefinition, OpportuneError
from shared.mongodb import Document


class NotAFolder(OpportuneError):
    """Publishing is about a whole site."""

    code = "not_a_folder"


class UnknownSite(OpportuneError):
    """A site that was never published."""

    code = "unknown_site"


def publish_folder(database: Database[Document], folder: Path, env: Mapping[str, str]) -> Published:
    """Load, check and publish the definitions in *folder*."""
    return console.publish(database, *read(folder, env))


def read(folder: Path, env: Mapping[str, str]) -> tuple[Definitions, list[WriteKey]]:
    """Return what *folder* defines, checked, and its write keys."""
    if folder.is_file():
        raise NotAFolder(f"{folder} is a file: give the folder of the site, or all its other campaigns would end")
    definitions = files.load(folder, env)
    return definitions, write_keys(definitions, env)


def roll_back(database: Database[Document], site: str, version: int | None = None) -> Published:
    """Make an older version of the site's definitions live again; default: what was live before."""
    return console.roll_back(database, site, version)


def write_keys(definitions: Definitions, env: Mapping[str, str]) -> list[WriteKey]:
    """Return the site's keys, hashed; a key ``from_env`` is looked up in *env*."""
    keys: list[WriteKey] = []
    for entry in definitions.site.keys:
        secret = entry.kind == "secret"
        if entry.sha256 is not None:
            keys.append(WriteKey(entry.sha256, secret, list(entry.origins), entry.identity))
            continue
        value = entry.key if entry.from_env is None else env.get(entry.from_env)
        if not value:
            raise InvalidDefinition(f"the environment has no {entry.from_env}, which site.yaml names", field="keys")
        keys.append(write_key(value, secret=secret, origins=entry.origins, identity=entry.identity))
    return keys


def refresh_targets(database: Database[Document], site: str) -> Refreshed:
    """Make all targets of *site* anew: what the demo, the benchmarks and the tests need."""
    return refresh(database, site, [ALL], Way("command line", now_ms)).made[-1]
