"""Variants: which version of a campaign's content a user gets. The same user always gets the same one."""

import hashlib

import msgspec

from shared.ruleset import Campaign, Variant


def variant_of(campaign: Campaign, site: str, user: str) -> Variant | None:
    """Return the variant of *campaign* for *user*, ``None`` if it has none. Weights set each variant's share."""
    total = sum(variant.weight for variant in campaign.variants)
    if total <= 0:
        return None
    digest = hashlib.blake2b(f"variant\0{site}\0{campaign.id}\0{user}".encode(), digest_size=8).digest()
    position = int.from_bytes(digest) % total
    for variant in campaign.variants:
        position -= variant.weight
        if position < 0:
            return variant
    return None


def with_content(campaign: Campaign, variant: Variant | None) -> Campaign:
    """Return *campaign* with the content of *variant*. Its id differs too, because templates are cached by it."""
    if variant is None:
        return campaign
    return msgspec.structs.replace(campaign, id=f"{campaign.id}#{variant.id}", content=variant.content)
