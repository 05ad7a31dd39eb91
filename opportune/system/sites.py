"""Which site a command is about."""

from pymongo.database import Database

from shared import mongodb
from shared.errors import InvalidRequest, OpportuneError
from shared.mongodb import Document
from shared.ruleset import Ruleset


class UnknownSite(OpportuneError):
    """A site that was never published."""

    code = "unknown_site"


def resolve(database: Database[Document], site: str | None) -> str:
    """Return *site*, or the only one there is; raises `UnknownSite`, or `InvalidRequest` where there are several."""
    known = sorted(mongodb.pointers(database))
    if site is None and len(known) > 1:
        raise InvalidRequest(f"there are several sites: give --site, one of {', '.join(known)}", code="which_site")
    if site is None and known:
        return known[0]
    if site not in known:
        asked = f"site {site!r} was never published" if site else "no site was ever published"
        raise UnknownSite(f"{asked}; known: {', '.join(known) or 'none'}")
    return str(site)


def live_ruleset(database: Database[Document], site: str) -> Ruleset:
    """Return what is live at *site*; raises `Unavailable` where it is not there."""
    return mongodb.ruleset(database, site, mongodb.pointers(database)[site].ruleset)
