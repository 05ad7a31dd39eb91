"""Ask for opt-outs in the way in which the Engager does before it sends."""

from pymongo.database import Database

from engager.send_blocks import SendBlocks
from shared.contracts import Activation
from shared.mongodb import Document


def has_opted_out(database: Database[Document], site: str, user: str, channel: str) -> bool:
    """Return whether *user* has opted out of *channel*."""
    activation = Activation("a", site, user, "campaign", 1, channel, 0, "event", "message")
    return SendBlocks(database).read(activation).opted_out
