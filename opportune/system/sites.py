"""Find the site that a command is about."""

from pymongo.database import Database

from shared import mongodb
from shared.errors import InvalidRequest, OpportuneError
from shared.mongodb import Document
from shared.ruleset import Ruleset


class UnknownSite(OpportuneError):
    """A site that was never published."""

    code = "unknown_site"


def resolve(database: Database[Document], site: str | None) -> str:
    """Return *site*, or the only site if it is None.

    Raise `UnknownSite`, or `InvalidRequest` if *site* is None and there are several sites.
    """
    known = sorted(mongodb.read_pointers(database))
    if site is None and len(known) > 1:
        raise InvalidRequest(f"there are several sites: give --site, one of {', '.join(known)}", code="which_site")
    if site is None and known:
        return known[0]
    if site not in known:
        problem = f"site {site!r} was never published" if site else "no site was ever published"
        raise UnknownSite(f"{problem}; known: {', '.join(known) or 'none'}")
    return str(site)


def live_ruleset(database: Database[Document], site: str) -> Ruleset:
    """Return the live ruleset of *site*; raise `Unavailable` if it is missing."""
    return mongodb.read_ruleset(database, site, mongodb.read_pointers(database)[site].ruleset)
