"""Opt-outs of everybody but the forgotten: nothing is sent to them, and their names must not be written again."""

from pymongo.collection import Collection

from shared.mongodb import Document, guarded
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
        with guarded():
            tombstone = self._forgotten.find_one({"_id": pseudonym(self._secret, site, user)}, {"_id": 1})
        if tombstone is None:
            self._opt_outs.add(site, user, channel, reason)
