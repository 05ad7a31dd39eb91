"""`opportune keys`: new keys fit into site.yaml, and the Gateway accepts the tokens."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from definitions.loading.yaml_source import Source
from definitions.model.field_errors import validate
from definitions.model.site import Site
from gateway.identity import Verified, Verifier
from shared.clock import now_ms
from shared.contracts import write_key
from shared.identities import Identity, IdentityKey
from shared.signing import identity_key
from tests.support.command_line import program

SECRET = "0123456789abcdef0123456789abcdef"


def keys(*arguments: str, cwd: Path, secret: str = SECRET) -> "subprocess.CompletedProcess[str]":
    """Run `opportune keys` in a folder without a local system."""
    env = {**os.environ, "OPPORTUNE_IDENTITY_SECRET": secret, "COLUMNS": "80"}
    command = [program(), "keys", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=60, env=env)


@pytest.mark.parametrize("kind", ["public", "secret"])
def test_a_new_key_fits_into_site_yaml(kind: str, tmp_path: Path) -> None:
    """The printed line is valid. For a secret key it contains only the hash."""
    made: dict[str, Any] = json.loads(keys("new", kind, "--json", cwd=tmp_path).stdout)
    site = validate(Site, Source("site.yaml", f"id: shop\nname: Shop\nkeys:\n  {made['site_yaml']}").data)
    assert site.keys[0].kind == kind
    assert write_key(made["key"]).sha256 == made["sha256"]
    assert (made["key"] in made["site_yaml"]) == (kind == "public")


def test_the_gateway_accepts_a_token_made_with_the_secret(tmp_path: Path) -> None:
    """The secret is the one that the Gateway derives. It is printed on one line, even in a narrow terminal."""
    printed = keys("identity", "shop", "spring", cwd=tmp_path).stdout
    assert printed == identity_key(SECRET, "shop", "spring") + "\n"
    token = keys("token", "anna", "--site", "shop", "--id", "spring", "--key", "wk_1", cwd=tmp_path).stdout.strip()
    verifier = Verifier("shop", Identity([IdentityKey("spring", "HS256")]), "wk_1", now_ms(), lambda: SECRET)
    assert verifier.verify("anna", {"identity_token": token}) == Verified({})


@pytest.mark.parametrize(
    ("arguments", "secret", "code"),
    [
        (("identity", "shop", "spring"), "", "not_connected"),
        (("identity", "shop", "spring"), "short", "invalid_settings"),
        (("token", "anna", "--site", "s", "--id", "i", "--key", "k", "--hours", "25"), SECRET, "invalid_request"),
    ],
)
def test_a_mistake_is_reported_without_the_secret(
    arguments: tuple[str, ...], secret: str, code: str, tmp_path: Path
) -> None:
    """The message has an error code, and the exit code is 2."""
    done = keys(*arguments, cwd=tmp_path, secret=secret)
    assert done.returncode == 2
    assert code in done.stderr
    assert "Traceback" not in done.stderr
    assert not secret or secret not in done.stderr
