"""Rulesets and their campaigns. A version is immutable, so it is read once and cached."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

from engager.ledger.states import Undeliverable
from shared.contracts import Activation
from shared.ruleset import Campaign, Ruleset, Sender

MAX_VERSIONS = 32


class DeliveryContext(NamedTuple):
    """The campaign and the site's settings for one activation.

    ``campaign``: as it was at the match.
    ``live``: the campaign in the live ruleset; ``None`` if it was withdrawn. All other fields are the live ones, too.
    ``consent``: the customer's attribute that must be true for this channel; ``None`` if the site needs no consent.
    ``sends_per_minute``: the limit of this channel; ``None`` if it has none.
    """

    campaign: Campaign
    live: Campaign | None
    sender: Sender | None
    webhook_hosts: Sequence[str] = ()
    consent: str | None = None
    sends_per_minute: int | None = None


class Rulesets:
    """The campaigns of all ruleset versions in use. *load* reads one version, or raises if there is none."""

    def __init__(self, load: Callable[[str, int], Ruleset]) -> None:
        def by_campaign(site: str, version: int) -> tuple[Ruleset, dict[str, Campaign]]:
            ruleset = load(site, version)
            return ruleset, {campaign.id: campaign for campaign in ruleset.campaigns}

        self._version = lru_cache(maxsize=MAX_VERSIONS)(by_campaign)

    def delivery_context(self, activation: Activation, live_version: int = 0) -> DeliveryContext:
        """Return the context of *activation*. *live_version*: of the site's ruleset, 0 if unknown.

        Raises `Undeliverable` if the activation's ruleset lacks its campaign, and whatever *load* raises.
        """
        _, campaigns = self._version(activation.site, activation.ruleset)
        if activation.campaign not in campaigns:
            raise Undeliverable(
                f"ruleset {activation.ruleset} has no campaign {activation.campaign}", code="no_campaign"
            )
        ruleset, live = self._version(activation.site, max(live_version, activation.ruleset))
        return DeliveryContext(
            campaigns[activation.campaign],
            live.get(activation.campaign),
            ruleset.sender,
            ruleset.webhook_hosts,
            ruleset.consent.get(activation.channel),
            ruleset.rates.get(activation.channel),
        )
