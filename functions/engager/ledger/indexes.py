"""The indexes that the Engager needs, and when rows of its small collections expire."""

from pymongo import ASCENDING, IndexModel
from pymongo.database import Database

from engager.ledger.states import State
from shared.mongodb import Document, translate_errors

HOUR_S = 3600
WEEK_S = 7 * 24 * HOUR_S


def ensure_indexes(database: Database[Document]) -> None:
    """Create the indexes that are missing; raises `Unavailable`."""
    with translate_errors():
        database.activations.create_indexes(
            [
                _partial("sending", State.SENDING, "updated"),
                _partial("unknown", State.UNKNOWN, "updated"),
                _partial("held", State.HELD, "until"),
            ]
        )
        database.send_rates.create_index("at", name="expiry", expireAfterSeconds=HOUR_S)
        database.forgotten.create_index("at", name="by_time")
        database.conversions.create_index("created", name="expiry", expireAfterSeconds=WEEK_S)


def _partial(name: str, state: State, field: str) -> IndexModel:
    return IndexModel(
        [("state", ASCENDING), (field, ASCENDING)], name=name, partialFilterExpression={"state": state.value}
    )
