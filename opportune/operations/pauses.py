"""Pause and resume a site, a channel or a campaign. Pauses are in the field ``paused`` of the site's control row.

Each change is one atomic update, so concurrent changes do not undo each other.
"""

from typing import NamedTuple

from pymongo.database import Database
from pymongo.write_concern import WriteConcern

from opportune.system import sites
from shared.channels import CHANNELS
from shared.errors import InvalidRequest
from shared.mongodb import Document, translate_errors

EVERYTHING = "*"
PAUSED = "Messages stop now, popups within OPPORTUNE_POLL_SECONDS (10 s by default)."
RESUMED = "Held messages are sent within a minute; popups return within OPPORTUNE_POLL_SECONDS (10 s by default)."


class PauseChange(NamedTuple):
    """The result of a change.

    ``what``: the pause, such as ``channel:email``.
    ``changed``: False if it was already so.
    ``paused``: all pauses of the site now.
    """

    site: str
    what: str
    changed: bool
    paused: list[str]


def pause(
    database: Database[Document], site: str, *, channel: str | None = None, campaign: str | None = None
) -> PauseChange:
    """Pause *site*, or one of its channels or campaigns. Raises `InvalidRequest` for an unknown one."""
    what = _name(channel, campaign)
    if campaign is not None:
        _check_campaign(database, site, campaign)
    return _switch(database, site, what, {"$addToSet": {"paused": what}})


def resume(
    database: Database[Document], site: str, *, channel: str | None = None, campaign: str | None = None
) -> PauseChange:
    """Lift one pause; others stay. The campaign may have ended since it was paused."""
    what = _name(channel, campaign)
    if campaign is not None and what not in paused(database, site):
        _check_campaign(database, site, campaign)
    return _switch(database, site, what, {"$pull": {"paused": what}})


def paused(database: Database[Document], site: str) -> list[str]:
    """Return the pauses of *site*: ``*``, ``channel:email``, ``campaign:three-wins``."""
    with translate_errors():
        row = database.control.find_one({"_id": site}, {"paused": 1})
    return list((row or {}).get("paused") or [])


def describe(site: str, what: str) -> str:
    """Return a pause in words."""
    kind, _, name = what.partition(":")
    return f"all of {site}" if what == EVERYTHING else f"{kind} {name} of {site}"


def check_channel(channel: str) -> None:
    """Raise `InvalidRequest` if *channel* is not a channel."""
    if channel not in CHANNELS:
        raise InvalidRequest(f"unknown channel {channel!r}; known: {', '.join(CHANNELS)}", code="unknown_channel")


def _name(channel: str | None, campaign: str | None) -> str:
    if channel is not None and campaign is not None:
        raise InvalidRequest("give --channel or --campaign, not both", code="one_switch")
    if channel is not None:
        check_channel(channel)
        return f"channel:{channel}"
    return f"campaign:{campaign}" if campaign is not None else EVERYTHING


def _check_campaign(database: Database[Document], site: str, campaign: str) -> None:
    live = [each.id for each in sites.live_ruleset(database, site).campaigns]
    if campaign not in live:
        known = ", ".join(live) or "none"
        raise InvalidRequest(f"no campaign {campaign!r} is live at {site}; known: {known}", code="unknown_campaign")


def _switch(database: Database[Document], site: str, what: str, update: Document) -> PauseChange:
    control = database.control.with_options(write_concern=WriteConcern("majority"))
    with translate_errors():
        changed = control.update_one({"_id": site}, update).modified_count > 0
    return PauseChange(site, what, changed, paused(database, site))
