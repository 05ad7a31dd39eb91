"""What is known of whom a page is about.

Opt-outs are of everybody but the forgotten: nothing is sent to them, and their names must not be written again.
"""

from contextlib import suppress

from pymongo.collection import Collection
from pymongo.database import Database

from shared.errors import Unavailable
from shared.mongodb import Document, translate_errors
from shared.optouts import OptOuts
from shared.signing import pseudonym


class KnownOptOuts:
    """`shared.optouts.OptOuts` that takes no one whose tombstone is in *forgotten*; raises `Unavailable`."""

    def __init__(self, opt_outs: OptOuts, forgotten: Collection[Document], secret: str) -> None:
        self._opt_outs = opt_outs
        self._forgotten = forgotten
        self._secret = secret

    def add(self, site: str, user: str, channel: str, reason: str) -> None:
        """Opt *user* out of *channel*, unless he is forgotten."""
        with translate_errors():
            tombstone = self._forgotten.find_one({"_id": pseudonym(self._secret, site, user)}, {"_id": 1})
        if tombstone is None:
            self._opt_outs.add(site, user, channel, reason)


def site_name(database: Database[Document], site: str) -> str:
    """Return the name of *site* as it is live, empty where nobody can say: a page must do without it then."""
    with suppress(Unavailable), translate_errors():
        control = database.control.find_one({"_id": site}, {"ruleset": 1}) or {}
        version = f"{site}:{control.get('ruleset')}"
        row = database.rulesets.find_one({"_id": version}, {"ruleset.name": 1}) or {}
        return str(row.get("ruleset", {}).get("name", ""))
    return ""
