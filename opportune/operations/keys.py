"""Make write keys, look up the secrets that prove user ids, and sign test tokens."""

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
MAX_HOURS = 24


def identity_secret(env: Mapping[str, str] = os.environ) -> str:
    """Return the secret of all identity keys, from the environment (or the ARN there) or the local stack."""
    given = env.get(VARIABLE) or (running_stack(STATE_DIR) or {}).get("identity_secret")
    if not given:
        raise NotConnected(
            f"{VARIABLE} is not set: set it to the stack's output IdentitySecretArn, "
            "or start a local system with `opportune run`"
        )
    return resolve(given)


def new_write_key(kind: str) -> dict[str, str]:
    """Return a new write key, its hash, and its entry for site.yaml."""
    key = f"{'wk' if kind == 'public' else 'sk'}_{secrets.token_urlsafe(24)}"
    digest = hashlib.sha256(key.encode()).hexdigest()
    entry = f"{{kind: public, key: {key}}}" if kind == "public" else f"{{kind: secret, sha256: {digest}}}"
    return {"kind": kind, "key": key, "sha256": digest, "site_yaml": f"- {entry}"}


def token(secret: str, site: str, key_id: str, user: str, write_key: str, *, now_s: int, hours: int) -> str:
    """Return a token that proves the id of *user*, as the site's own server would sign it."""
    if not 1 <= hours <= MAX_HOURS:
        raise InvalidRequest(f"a token is valid for 1 to {MAX_HOURS} hours, not {hours}")
    claims: dict[str, Any] = {"sub": user, "aud": write_key, "exp": now_s + hours * 3600}
    return jwt.encode(claims, identity_key(secret, site, key_id), algorithm="HS256", headers={"kid": key_id})
