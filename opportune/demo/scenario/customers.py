"""The customers of the demo."""

import zlib
from typing import Any

from pymongo import UpdateOne
from pymongo.database import Database

from shared.mongodb import Document

VISITOR = {
    "user_id": "you",
    "first_name": "You",
    "tier": "vip",
    "email": "you@player.example",
    "phone": "+12025550100",
}


def customers(run: str) -> list[dict[str, Any]]:
    """Return the customers that the scenario needs, as rows of an import; *run* ends their ids."""
    vips = ["anna", "carol", "dave", "erin", "frank", "grace", "leo"]
    others = ["bob", "heidi", "ivan", "mona"]
    return [
        {
            "user_id": f"{name}-{run}",
            "first_name": name.title(),
            "tier": "vip" if name in vips else "basic",
            "email": f"{name}-{run}@player.example",
            "phone": _phone(run, number),
        }
        for number, name in enumerate(vips + others)
    ]


def import_customers(database: Database[Document], run: str) -> None:
    """Store the customers of the scenario, and the one that you are on the demo site."""
    database.customers.bulk_write(
        [
            UpdateOne(
                {"_id": f"demo:{customer['user_id']}"},
                {
                    "$set": {
                        "site": "demo",
                        "user": customer["user_id"],
                        "attributes": {name: value for name, value in customer.items() if name != "user_id"},
                    }
                },
                upsert=True,
            )
            for customer in [*customers(run), VISITOR]
        ]
    )


def _phone(run: str, number: int) -> str:
    """Return a number of the range reserved for fiction, different for each run."""
    digits = zlib.crc32(run.encode()) % 800_000
    return f"+1202555{digits:06}{number:02}"
