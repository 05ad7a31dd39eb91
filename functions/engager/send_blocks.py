"""What stops a message right before it is sent: the user's opt-out, and a pause. Both in one query, never cached."""

from typing import NamedTuple

from pymongo.database import Database

from engager.controls import Control
from shared.contracts import Activation
from shared.mongodb import Document, translate_errors


class SendBlock(NamedTuple):
    """Whether the user has ``opted_out`` of the channel, and whether the message is ``paused``."""

    opted_out: bool = False
    paused: bool = False


class SendBlocks:
    """Reads the opt-outs of a user together with the pauses of the site. Raises `Unavailable`."""

    def __init__(self, database: Database[Document]) -> None:
        self._database = database

    def read(self, activation: Activation) -> SendBlock:
        """Return what stops *activation* now; costs one call."""
        site = activation.site
        pauses: Document = {"coll": "control", "pipeline": [{"$match": {"_id": site}}, {"$project": {"paused": 1}}]}
        pipeline: list[Document] = [
            {"$match": {"_id": f"{site}:{activation.user}"}},
            {"$project": {"channels": 1}},
            {"$unionWith": pauses},
        ]
        with translate_errors():
            rows = {row["_id"]: row for row in self._database.optouts.aggregate(pipeline)}
        control = Control(frozenset(rows.pop(site, {}).get("paused") or ()))
        opted_out = any(activation.channel in row.get("channels", {}) for row in rows.values())
        return SendBlock(opted_out, control.pauses(activation))
