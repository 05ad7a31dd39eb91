"""A whole local system with the demo's definitions published, for tests that need one.

In its MongoDB each function has the rights that docs/deploy.md gives it, and no others.
"""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pymongo.database import Database

from opportune.authoring import publishing
from opportune.events.send import Endpoint
from opportune.local.stack import Stack
from opportune.system.subprocesses import Subprocesses
from shared import mongodb
from tests.support.paths import ROOT
from tests.support.secured_mongod import MARKETER, SecuredMongod, role_arn, with_settings

KEYS = {
    "OPPORTUNE_DEMO_SECRET_KEY": "demo-secret-of-the-tests",
    "OPPORTUNE_SHOP_SECRET_KEY": "shop-secret-of-the-tests",
}


@dataclass(frozen=True)
class System:
    """A running stack, its database, and endpoints with a public and a secret key."""

    stack: Stack
    database: Database[dict[str, Any]]
    browser: Endpoint
    server: Endpoint
    folder: Path


@contextmanager
def whole_system(folder: Path) -> Iterator[System]:
    """Run the system, with its data in *folder*."""
    with (
        Subprocesses(folder / "run", folder / "logs", os.environ) as subprocesses,
        SecuredMongod(subprocesses) as cluster,
        Stack(
            state_dir=folder / ".opportune",
            demo_dir=ROOT / "web" / "demo",
            keys=KEYS,
            ses_identities=("casino.example",),
            mongodb_url=cluster.url(MARKETER),
            functions=with_settings(lambda name: {"OPPORTUNE_MONGODB_URL": cluster.url(role_arn(name))}),
        ) as stack,
        closing(mongodb.database(stack.mongodb_url, "opportune").client) as client,
    ):
        database = client.opportune
        database.customers.insert_many(
            [
                {"_id": f"demo:{user}", "site": "demo", "user": user, "attributes": {"tier": tier, "first_name": user}}
                for user, tier in [("anna", "vip"), ("you", "vip"), ("bob", "basic")]
            ]
        )
        publishing.publish_folder(database, ROOT / "campaigns" / "demo", KEYS)
        publishing.refresh_targets(database, "demo")
        yield System(
            stack,
            database,
            Endpoint(stack.http_url, "wk_demo_public"),
            Endpoint(stack.http_url, KEYS["OPPORTUNE_DEMO_SECRET_KEY"]),
            folder,
        )
