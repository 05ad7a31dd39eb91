"""Apply one event to its user's row: one Redis command, and none if no live trigger uses the event."""

from collections.abc import Sequence
from typing import Any

import msgspec

from decider.activations import Note, offer_id, reference, write_note
from decider.event_index import Hit
from decider.layout import Outcome
from decider.policy import FRESH_MS, blocking_gate
from decider.ports import Deps
from decider.rulesets import SiteRules
from decider.timers import ACK_TIMEOUT_MS, GRACE_MS
from decider.user_state import ApplyEvent, ApplyResult, TriggerCall
from decider.visitors import finish_move
from shared import groups
from shared.context import ROOT, project
from shared.contracts import Event
from shared.errors import Unavailable
from shared.targets import GenerationDropped

MAX_ATTEMPTS = 4


def apply_event(site: str, event: Event, deps: Deps) -> ApplyResult | None:
    """Apply *event*; return ``None`` if no live trigger uses it.

    Raises `Unavailable` if the outcome is unknown, and `Unreadable` if the row cannot be read.
    """
    for _ in range(MAX_ATTEMPTS):
        rules = deps.rulesets.get().get(site)
        hits = rules.index.lookup(event.event, event.attributes) if rules else []
        if rules is None or not hits:
            return None
        result = apply_to_row(_event_call(site, event, rules, hits, deps.clock()), rules, deps)
        if result is not None and result.code is Outcome.VISITOR_BECAME_USER:
            if result.is_moving:
                finish_move(site, event.user, event.received, deps)
            event = msgspec.structs.replace(event, user=result.user)
        elif result is not None:
            for campaign in result.evicted:
                deps.log_warning("a run was evicted: the user has too many", extra={"campaign": campaign})
            return result
    raise Unavailable("the rules or targets changed too often meanwhile", code="ruleset_changing")


def apply_to_row(call: ApplyEvent, rules: SiteRules, deps: Deps) -> ApplyResult | None:
    """Make *call*, and repeat it with the user's targets if the row does not know them.

    Returns ``None`` if *rules* are outdated: the row has seen a newer ruleset, or their targets were dropped. The
    current rules are loaded then: call again.
    """
    result = deps.states.apply(call)
    if result.code is Outcome.TARGETS_UNKNOWN:
        index = rules.index
        try:
            found = deps.targets.groups(call.site, rules.generation, call.user) if index.has_groups else []
        except GenerationDropped:
            deps.rulesets.reload()
            return None
        live = index.ruleset.campaigns
        call.targets = [each.trigger.key for each in live if not each.everyone and groups.is_target(each, found)]
        call.keep = call.targets + [each.trigger.key for each in live if each.everyone]
        call.live = {each.trigger.key: each.id for each in live}
        result = deps.states.apply(call)
    if result.code is Outcome.RULESET_OUTDATED:
        deps.rulesets.reload()
        return None
    return result


def row_call(rules: SiteRules, **fields: Any) -> ApplyEvent:
    """Return a call under *rules*; *fields* are those that do not follow from them."""
    return ApplyEvent(
        generation=rules.generation,
        ruleset=rules.index.ruleset.version,
        ttl=rules.index.ttl_ms,
        ack_timeout=ACK_TIMEOUT_MS,
        grace=GRACE_MS,
        **fields,
    )


def _event_call(site: str, event: Event, rules: SiteRules, hits: Sequence[Hit], clock: int) -> ApplyEvent:
    limit = None if event.history else rules.index.ruleset.events_per_user
    blocks_popups = event.history or event.popup_block_reason
    return row_call(
        rules,
        site=site,
        user=event.user,
        message_id=event.message_id,
        at=event.at,
        received=event.received,
        clock=clock,
        history=event.history,
        limit=(limit.max, limit.per) if limit else None,
        verified=event.verified,
        answerable=not blocks_popups and event.received - event.at <= FRESH_MS,
        triggers=[
            TriggerCall(
                key=campaign.trigger.key,
                everyone=campaign.everyone,
                bits=bits,
                per=per,
                program=campaign.trigger.program,
                ref=reference(campaign, rules.index.ruleset.version),
                note=_note(event, campaign.reads) if bits else "",
                policy=rules.index.policies[campaign.id],
                watch=watch,
                gate=blocking_gate(campaign, site, event.user, event.received, event) if bits else None,
                offer=offer_id(site, event, campaign, per) if campaign.until_seen else None,
            )
            for campaign, bits, per, watch in hits
        ],
    )


def _note(event: Event, reads: Sequence[str]) -> str:
    return write_note(
        Note(
            event=event.event,
            message_id=event.message_id,
            at=event.at,
            received=event.received,
            history=event.history,
            attributes=project(event.attributes, event.attributes.get(ROOT), reads),
        )
    )
