"""Rulesets and their campaigns; a version is immutable, so it is read once and kept."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

from engager.ledger.states import Undeliverable
from shared.contracts import Activation
from shared.ruleset import Campaign, Ruleset, Sender

VERSIONS_KEPT = 32


class Brief(NamedTuple):
    """What an activation is to be executed with: ``campaign`` as it was at the match, all else as it is now.

    ``present``: the campaign now, ``None`` where it was withdrawn. ``consent``: the customer's attribute that must be
    true; ``rate``: most sends per minute; both of the activation's channel, ``None`` where the site has no such rule.
    """

    campaign: Campaign
    present: Campaign | None
    sender: Sender | None
    webhook_hosts: Sequence[str] = ()
    consent: str | None = None
    rate: int | None = None


class Rulesets:
    """The campaigns of the ruleset versions in use; *load* reads one version and raises if there is none."""

    def __init__(self, load: Callable[[str, int], Ruleset]) -> None:
        def indexed(site: str, version: int) -> tuple[Ruleset, dict[str, Campaign]]:
            ruleset = load(site, version)
            return ruleset, {campaign.id: campaign for campaign in ruleset.campaigns}

        self._version = lru_cache(maxsize=VERSIONS_KEPT)(indexed)

    def brief(self, activation: Activation, current: int = 0) -> Brief:
        """Return what *activation* is executed with; *current*: the version of the ruleset that is live, if known."""
        _, campaigns = self._version(activation.site, activation.ruleset)
        if activation.campaign not in campaigns:
            raise Undeliverable(
                f"ruleset {activation.ruleset} has no campaign {activation.campaign}", code="no_campaign"
            )
        ruleset, present = self._version(activation.site, max(current, activation.ruleset))
        return Brief(
            campaigns[activation.campaign],
            present.get(activation.campaign),
            ruleset.sender,
            ruleset.webhook_hosts,
            ruleset.consent.get(activation.channel),
            ruleset.rates.get(activation.channel),
        )
