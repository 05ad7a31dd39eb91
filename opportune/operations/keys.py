"""The keys behind `opportune keys`: new write keys, the secrets that prove user ids, tokens to try them with."""

import hashlib
import os
import secrets
from collections.abc import Mapping
from typing import Any

import jwt

from opportune.system.connection import STATE_DIR, NotConnected
from opportune.system.state_file import running_stack
from shared.errors import InvalidRequest
from shared.secrets import resolve
from shared.signing import identity_key

VARIABLE = "OPPORTUNE_IDENTITY_SECRET"
LONGEST_HOURS = 24


def identity_secret(env: Mapping[str, str] = os.environ) -> str:
    """Return what all keys are derived from: of the environment (or the ARN there), else of the local stack."""
    given = env.get(VARIABLE) or (running_stack(STATE_DIR) or {}).get("identity_secret")
    if not given:
        raise NotConnected(
            f"nothing says what keys are derived from: set {VARIABLE} to the stack's output IdentitySecretArn, "
            "or start a local system with `opportune run`"
        )
    return resolve(given)


def new_write_key(kind: str) -> dict[str, str]:
    """Return a new write key, its hash, and what to write in site.yaml."""
    key = f"{'wk' if kind == 'public' else 'sk'}_{secrets.token_urlsafe(24)}"
    digest = hashlib.sha256(key.encode()).hexdigest()
    entry = f"{{kind: public, key: {key}}}" if kind == "public" else f"{{kind: secret, sha256: {digest}}}"
    return {"kind": kind, "key": key, "sha256": digest, "site_yaml": f"- {entry}"}


def token(secret: str, site: str, key_id: str, user: str, write_key: str, *, now_s: int, hours: int) -> str:
    """Return a token that proves *user*, as the site's own server would make it."""
    if not 1 <= hours <= LONGEST_HOURS:
        raise InvalidRequest(f"a token lives 1 to {LONGEST_HOURS} hours")
    claims: dict[str, Any] = {"sub": user, "aud": write_key, "exp": now_s + hours * 3600}
    return jwt.encode(claims, identity_key(secret, site, key_id), algorithm="HS256", headers={"kid": key_id})
