"""Builders of compiled campaigns and of calls of the state store."""

from typing import Any

from decider.activations import reference
from decider.event_index import EventIndex
from decider.user_state import ApplyEvent, TriggerCall
from definitions.compiler.ruleset import compile_campaign
from definitions.model.campaign import Campaign as CampaignFile
from shared.ruleset import Campaign, Ruleset

WON = {"outcome": "win"}
NOTE = '["game_result","m1",1790000000000,1790000000000,false,{}]'
THREE_WINS: dict[str, Any] = {
    "sequence": [{"event": "game_result", "where": WON, "times": 3, "consecutive": True}],
    "within": "10m",
}


def compiled(
    trigger: dict[str, Any],
    *,
    everyone: bool = True,
    name: str = "test",
    channel: str = "popup",
    content: dict[str, Any] | None = None,
) -> Campaign:
    """Return a compiled campaign with *trigger*, which is written as in a file."""
    content = content or (
        {"layout": "modal", "title": "Hi", "body": "there"}
        if channel == "popup"
        else {"subject": "Hi {{ customer.first_name }}", "text": "there"}
    )
    source = {
        "id": name,
        "name": name,
        "targets": "everyone" if everyone else [name],  # a group of its own
        "trigger": trigger,
        "channel": channel,
        "content": content,
    }
    return compile_campaign(CampaignFile.model_validate(source))


WINS = compiled(THREE_WINS, name="three-wins")


def call_for(
    campaign: Campaign,
    user: str,
    message_id: str,
    *,
    at: int,
    event: str = "game_result",
    attributes: dict[str, Any] | None = None,
    received: int | None = None,
    **changes: Any,
) -> ApplyEvent:
    """Return the call for one event and one campaign; the default event is a win."""
    plan = EventIndex(Ruleset(site="demo", version=1, keys=[], campaigns=[campaign]))
    ((_, bits, per, _),) = plan.lookup(event, WON if attributes is None else attributes)
    call = ApplyEvent(
        site="demo",
        user=user,
        ack_timeout=30_000,
        grace=5_000,
        message_id=message_id,
        at=at,
        received=at if received is None else received,
        generation=1,
        ruleset=1,
        ttl=60_000,
        triggers=[
            TriggerCall(
                key=campaign.trigger.key,
                everyone=campaign.everyone,
                bits=bits,
                per=per,
                program=campaign.trigger.program,
                ref=reference(campaign, 1),
                note=NOTE,
            )
        ],
    )
    for name, value in changes.items():
        setattr(call, name, value)
    return call


def log_warning(message: str, *, extra: dict[str, Any]) -> None:
    """Log as a function's logger would, to standard output."""
    print(message, extra)
