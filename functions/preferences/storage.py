"""What Preferences reads and writes in MongoDB.

No opt-out is stored for a forgotten user: they get no messages anyway, and their id must not be written again.
"""

from contextlib import suppress

from pymongo.collection import Collection
from pymongo.database import Database

from shared.errors import Unavailable
from shared.mongodb import Document, translate_errors
from shared.optouts import OptOuts
from shared.signing import pseudonym


class OptOutsUnlessForgotten:
    """Adds opt-outs, except for users with a tombstone in *forgotten*. Raises `Unavailable`."""

    def __init__(self, opt_outs: OptOuts, forgotten: Collection[Document], secret: str) -> None:
        self._opt_outs = opt_outs
        self._forgotten = forgotten
        self._secret = secret

    def add(self, site: str, user: str, channel: str, reason: str) -> None:
        """Opt *user* out of *channel*, unless the user is forgotten."""
        with translate_errors():
            tombstone = self._forgotten.find_one({"_id": pseudonym(self._secret, site, user)}, {"_id": 1})
        if tombstone is None:
            self._opt_outs.add(site, user, channel, reason)


def read_site_name(database: Database[Document], site: str) -> str:
    """Return the name of *site* in its live ruleset; empty if it cannot be read, since the page works without it."""
    with suppress(Unavailable), translate_errors():
        control = database.control.find_one({"_id": site}, {"ruleset": 1}) or {}
        version = f"{site}:{control.get('ruleset')}"
        row = database.rulesets.find_one({"_id": version}, {"ruleset.name": 1}) or {}
        return str(row.get("ruleset", {}).get("name", ""))
    return ""
