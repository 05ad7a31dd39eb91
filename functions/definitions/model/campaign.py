"""The campaign, as it is written."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, StrictBool, StrictInt, ValidationInfo, field_validator, model_validator

from definitions.model.content import EmailContent, PushContent, SmsContent, WebhookContent
from definitions.model.delivery import (
    LATENESS_MS,
    POPUP_LATENESS_MS,
    Goal,
    Limits,
    OfferedFor,
    OwnQuietHours,
    Variant,
    read_content,
    read_quiet_hours,
    read_variants,
)
from definitions.model.field_errors import FieldErrors
from definitions.model.fields import Definition, Duration, Name, Share, identifier
from definitions.model.popup import PopupContent
from definitions.model.times import QuietHours, Schedule
from definitions.model.trigger import Matcher, Trigger, never_fires

_LIMIT = "it is a limit: indent it below 'limits:'"


def _targets(value: Any) -> tuple[str, ...] | Literal["everyone"]:
    if value == "everyone":
        return "everyone"
    if isinstance(value, str):
        raise FieldErrors(("", f"must be a list of target groups, or everyone: write [{value}]"))
    if not isinstance(value, list | tuple) or not value:
        raise FieldErrors(("", "must be a list of target groups such as [vip-players], or everyone"))
    for number, name in enumerate(value):
        if not isinstance(name, str) or not name:
            raise FieldErrors((f"[{number}]", "must be the id of a target group"))
        if name == "everyone":
            raise FieldErrors((f"[{number}]", "everyone includes all groups: write 'targets: everyone'"))
    return tuple(value)


class Campaign(Definition):
    """Trigger, target groups, channel, content and limits; times in ms, the holdout in parts of 10,000."""

    example = "id: three-wins, name: Three wins"
    not_offered: ClassVar[Mapping[str, str]] = {
        "sequence": "the pattern stands in 'trigger': indent it below 'trigger:'",
        "again_after": _LIMIT,
        "max": _LIMIT,
        "caps": "caps are about all campaigns together: write them in the site; 'limits' are those of a campaign",
        "timezone": "a campaign has no zone of its own; 'schedule' and 'quiet_hours' may have one",
    }

    id: Annotated[str, identifier(64)]
    name: Name
    targets: Annotated[tuple[str, ...] | Literal["everyone"], BeforeValidator(_targets)]
    trigger: Trigger
    channel: Literal["popup", "email", "sms", "push", "webhook"]
    content: PopupContent | EmailContent | SmsContent | PushContent | WebhookContent | None = None
    variants: tuple[Variant, ...] = ()
    priority: Annotated[StrictInt, Field(ge=-1000, le=1000)] = 0
    schedule: Schedule | None = None
    holdout: Share | None = None
    limits: Limits | None = None
    delay: Duration | None = None
    cancel_on: Annotated[tuple[Matcher, ...], Field(max_length=10)] = ()
    goal: Goal | None = None
    cancel_on_goal: StrictBool = True
    quiet_hours: Annotated[OwnQuietHours, BeforeValidator(read_quiet_hours)] | None = None
    max_lateness: Duration | None = None
    if_state_lost: Literal["skip", "send"] = "skip"
    until_seen: OfferedFor | None = None

    @property
    def lateness(self) -> int:
        """Return ``max_lateness``, or what it is where nothing is written."""
        return self.max_lateness or (POPUP_LATENESS_MS if self.channel == "popup" else LATENESS_MS)

    @property
    def contents(self) -> Mapping[str, PopupContent | EmailContent | SmsContent | PushContent | WebhookContent]:
        """Return what customers may get, each by its field."""
        own = {} if self.content is None else {"content": self.content}
        return own | {f"variants[{number}].content": each.content for number, each in enumerate(self.variants)}

    @field_validator("trigger")
    @classmethod
    def _check_trigger(cls, trigger: Trigger) -> Trigger:
        found = list(never_fires(trigger))
        if found:
            raise FieldErrors(*found)
        return trigger

    @field_validator("channel", mode="before")
    @classmethod
    def _check_channel(cls, value: Any, info: ValidationInfo) -> Any:
        trigger = info.data.get("trigger")
        if value == "popup" and trigger is not None and trigger.unless is not None:
            message = "an absence ('unless') has no answer that a popup could come back in; use channel email"
            raise FieldErrors(("", message))
        return value

    @field_validator("content", "variants", mode="before")
    @classmethod
    def _check_content(cls, value: Any, info: ValidationInfo) -> Any:
        channel = info.data.get("channel")
        if channel is None:
            raise FieldErrors  # nothing to add: the channel is refused, and without one all may be right
        if info.field_name == "content":
            return None if value is None else read_content(channel, value)
        return () if value in ((), []) else read_variants(channel, value)

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        found = [*_contradictions_of_content(self), *_contradictions_of_delivery(self)]
        if found:
            raise FieldErrors(*found)
        return self


def _contradictions_of_content(campaign: Campaign) -> Iterator[tuple[str, str]]:
    if campaign.content is None and not campaign.variants:
        yield "content", "is missing: write what customers get, or several versions of it as 'variants'"
    elif campaign.content is not None and campaign.variants:
        yield "variants", "stands beside 'content': write one of the two"


def _contradictions_of_delivery(campaign: Campaign) -> Iterator[tuple[str, str]]:
    if campaign.channel == "popup":
        yield from _impossible_for_a_popup(campaign)
    elif campaign.until_seen is not None:
        yield "until_seen", f"means nothing for channel {campaign.channel}: only a popup is offered until it is seen"
    if campaign.delay is None:
        if campaign.cancel_on:
            yield "cancel_on", "means nothing without 'delay': what is sent at once cannot be cancelled"
        if not campaign.cancel_on_goal:
            yield "cancel_on_goal", "means nothing without 'delay': what is sent at once cannot be cancelled"
        if campaign.if_state_lost == "send":
            yield "if_state_lost", "means nothing without 'delay': only what waits can be lost"
    elif not campaign.cancel_on_goal and campaign.goal is None:
        yield "cancel_on_goal", "means nothing without 'goal': remove it"


def _impossible_for_a_popup(campaign: Campaign) -> Iterator[tuple[str, str]]:
    if campaign.delay is not None:
        message = "a popup has no answer to come back in after a delay: use another channel, or write 'delay' "
        yield "delay", message + "into 'content' for one that waits on the page"
    quiet = campaign.quiet_hours
    if quiet == "hold" or (isinstance(quiet, QuietHours) and quiet.then == "hold"):
        place = "quiet_hours" if quiet == "hold" else "quiet_hours.then"
        yield place, "a popup cannot be held, it has no later answer to come back in: write drop or ignore"
    if campaign.lateness > POPUP_LATENESS_MS:
        message = "must not be more than 1m for a popup: it is in the answer to its event, or nowhere"
        yield "max_lateness", message
