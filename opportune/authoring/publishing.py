"""Publish a folder of definitions and refresh its targets, for the command line and the demo."""

from collections.abc import Mapping
from pathlib import Path

from pymongo.database import Database

from definitions.checks.check import check
from definitions.compiler.ruleset import Bundle, compile_definitions
from definitions.loading.folder import load
from definitions.model.definitions import Definitions
from definitions.publishing.publish import Published, publish
from refresher.plan import ALL
from refresher.refresh import Refreshed, RefreshOptions, refresh
from shared.clock import now_ms
from shared.contracts import WriteKey, write_key
from shared.errors import InvalidDefinition, OpportuneError
from shared.mongodb import Document


class NotAFolder(OpportuneError):
    """A single file was given; publishing needs the whole site."""

    code = "not_a_folder"


def publish_folder(database: Database[Document], folder: Path, env: Mapping[str, str]) -> Published:
    """Load, check, compile and publish the definitions in *folder*."""
    return publish(database, compile_folder(folder, env))


def compile_folder(folder: Path, env: Mapping[str, str]) -> Bundle:
    """Load, check and compile the definitions in *folder*. *env*: where keys with ``from_env`` are looked up."""
    if folder.is_file():
        # Publishing a single campaign would end all the others.
        raise NotAFolder(f"{folder} is a file: give the folder with all definitions of the site")
    definitions = check(load(folder), env)
    return compile_definitions(definitions, write_keys(definitions, env))


def write_keys(definitions: Definitions, env: Mapping[str, str]) -> list[WriteKey]:
    """Return the site's write keys, hashed. *env*: where keys with ``from_env`` are looked up.

    Raises `InvalidDefinition` if *env* does not have such a key.
    """
    keys: list[WriteKey] = []
    for entry in definitions.site.keys:
        secret = entry.kind == "secret"
        if entry.sha256 is not None:
            keys.append(WriteKey(entry.sha256, secret, list(entry.origins), entry.identity))
            continue
        value = entry.key if entry.from_env is None else env.get(entry.from_env)
        if not value:
            message = f"the environment variable {entry.from_env}, which site.yaml names, is not set: set it to the key"
            raise InvalidDefinition(message, field="keys")
        keys.append(write_key(value, secret=secret, origins=entry.origins, identity=entry.identity))
    return keys


def refresh_targets(database: Database[Document], site: str) -> Refreshed:
    """Refresh all targets of *site*, for the demo, the benchmarks and the tests."""
    return refresh(database, site, [ALL], RefreshOptions("command line", now_ms)).generations[-1]
