"""Builds Preferences from its settings: the only place that creates its client."""

from functools import partial

from preferences.handler import Deps
from preferences.known import KnownOptOuts, site_name
from shared import mongodb
from shared.observability import observe
from shared.optouts import OptOuts
from shared.settings import Settings
from shared.signing import check_secret


def build(settings: Settings) -> Deps:
    """Return everything the handler needs; nothing is connected yet. Raises `InvalidSettings` for a short secret."""
    database = mongodb.database(settings.mongodb_url, settings.mongodb_database)
    secret = check_secret(settings.signing_secret)
    return Deps(
        opt_outs=KnownOptOuts(OptOuts(database.optouts), database.forgotten, secret),
        name=partial(site_name, database),
        secret=secret,
        observability=observe("preferences"),
    )
