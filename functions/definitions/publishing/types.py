"""The types of customers' attributes that a site declares, beside those that were found out: the declared ones count.

Collection ``customer_attributes``: a row per attribute, which imports and `identify` read. It is written after the
version is live, and again by every publish: who dies in between leaves types that the next publish, or the next
import, brings up to date. A type that is not declared any more stays what it was.
"""

from pymongo import UpdateOne
from pymongo.database import Database

from shared.attribute_types import Type
from shared.mongodb import Document, translate_errors


def declared(source: Document) -> dict[str, Type]:
    """Return the types that the definitions in *source* declare, by attribute."""
    attributes = source["site"].get("customer_attributes") or {}
    return {name: attribute["type"] for name, attribute in attributes.items() if "." not in name}


def declare(database: Database[Document], site: str, source: Document) -> None:
    """Have the types that *source* declares count; raises `Unavailable`."""
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
