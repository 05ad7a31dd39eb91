"""Build the dependencies of Preferences from its settings. Only this module creates its client."""

from functools import partial

from preferences.ports import Deps
from preferences.storage import OptOutsUnlessForgotten, read_site_name
from shared import mongodb
from shared.observability import observe
from shared.optouts import OptOuts
from shared.settings import Settings
from shared.signing import check_secret


def build(settings: Settings) -> Deps:
    """Return everything the handler needs; raise `InvalidSettings` if the secret is too short."""
    database = mongodb.database(settings.mongodb_url, settings.mongodb_database)
    secret = check_secret(settings.signing_secret)
    return Deps(
        opt_outs=OptOutsUnlessForgotten(OptOuts(database.optouts), database.forgotten, secret),
        site_name=partial(read_site_name, database),
        secret=secret,
        observability=observe("preferences"),
    )
