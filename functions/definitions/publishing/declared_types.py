"""Store the types of customer attributes that a site declares; they take precedence over inferred types.

The collection ``customer_attributes`` has a row per attribute, which imports and `identify` read. It is written after
a version goes live, and again by every publish and import, which repair it if a process dies in between. The type of
an attribute that is no longer declared stays.
"""

from pymongo import UpdateOne
from pymongo.database import Database

from shared.attribute_types import Type
from shared.mongodb import Document, translate_errors


def declared(source: Document) -> dict[str, Type]:
    """Return the type of each attribute that the definitions in *source* declare."""
    attributes = source["site"].get("customer_attributes") or {}
    return {name: attribute["type"] for name, attribute in attributes.items() if "." not in name}


def declare(database: Database[Document], site: str, source: Document) -> None:
    """Store the types that *source* declares; raises `Unavailable`."""
    updates = [
        UpdateOne(
            {"_id": f"{site}:{name}"},
            {"$set": {"type": type_}, "$setOnInsert": {"site": site, "attribute": name}},
            upsert=True,
        )
        for name, type_ in declared(source).items()
    ]
    if updates:
        with translate_errors():
            database.customer_attributes.bulk_write(updates, ordered=False)
