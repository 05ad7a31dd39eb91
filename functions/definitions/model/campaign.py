"""The campaign, as people write it."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue

from definitions.model.content import CONTENTS, EmailContent, PushContent, SmsContent, WebhookContent
from definitions.model.delivery import (
    LATENESS_MS,
    POPUP_LATENESS_MS,
    CampaignQuietHours,
    Goal,
    Limits,
    UntilSeen,
    Variant,
    parse_content,
    parse_variants,
)
from definitions.model.field_errors import FieldErrors
from definitions.model.fields import REFERENCE, Definition, Duration, Identifier, Name, Share
from definitions.model.popup import PopupContent
from definitions.model.times import QuietHours, Schedule
from definitions.model.trigger import Matcher, Trigger, never_fires
from shared.channels import Channel

_LIMIT = "it is a limit: indent it below 'limits:'"


def _check_targets(value: Any) -> tuple[str, ...] | Literal["everyone"]:
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


Targets = Annotated[
    tuple[str, ...] | Literal["everyone"],
    BeforeValidator(_check_targets),
    WithJsonSchema(
        {
            "anyOf": [
                {"const": "everyone"},
                {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1},
            ]
        }
    ),
]


def _channel_rule(channel: str, then: JsonSchemaValue) -> JsonSchemaValue:
    return {"if": {"properties": {"channel": {"const": channel}}, "required": ["channel"]}, "then": then}


def _content_rule(channel: str, model: type[Definition]) -> JsonSchemaValue:
    content = {"properties": {"content": {REFERENCE: model.__name__}}}
    return _channel_rule(channel, {"properties": {**content["properties"], "variants": {"items": content}}})


_POPUP_RULE: JsonSchemaValue = {
    "properties": {
        "trigger": {"not": {"required": ["unless"]}},
        "quiet_hours": {"not": {"const": "hold"}, "properties": {"then": {"const": "drop"}}, "required": ["then"]},
    },
    "not": {"required": ["delay"]},
}
_NEEDS_DELAY: tuple[JsonSchemaValue, ...] = (
    {"properties": {"cancel_on": {"minItems": 1}}, "required": ["cancel_on"]},
    {"properties": {"cancel_on_goal": {"const": False}}, "required": ["cancel_on_goal"]},
    {"properties": {"if_state_lost": {"const": "send"}}, "required": ["if_state_lost"]},
)
_RULES: dict[str, Any] = {
    "oneOf": [{"required": ["content"]}, {"required": ["variants"]}],
    "allOf": [
        *(_content_rule(channel, model) for channel, model in CONTENTS.items()),
        _channel_rule("popup", _POPUP_RULE),
        *({"if": each, "then": {"required": ["delay"]}} for each in _NEEDS_DELAY),
        {"if": {"required": ["until_seen"]}, "then": {"properties": {"channel": {"const": "popup"}}}},
    ],
}


class Campaign(Definition):
    """A campaign: what customers do (trigger), which customers it is for, and what they get."""

    model_config = ConfigDict(json_schema_extra=_RULES)
    example = "id: three-wins, name: Three wins"
    unsupported_fields: ClassVar[Mapping[str, str]] = {
        "sequence": "the pattern belongs to 'trigger': indent it below 'trigger:'",
        "again_after": _LIMIT,
        "max": _LIMIT,
        "caps": "caps apply to all campaigns together: write them into the site, and this campaign's into 'limits'",
        "timezone": "a campaign has no time zone; write it into 'schedule' or 'quiet_hours'",
    }

    id: Identifier = Field(
        description="Id of the campaign, unique in the site: letters a-z, digits and '-'.", examples=["three-wins"]
    )
    name: Name = Field(description="Name of the campaign, for people.")
    targets: Targets = Field(
        description="Target groups: a customer must be in at least one; or `everyone`, including anonymous visitors.",
        examples=["everyone", ["vip-players"]],
    )
    trigger: Trigger = Field(description="The pattern of events that starts the campaign.")
    channel: Channel = Field(description="How the content reaches the customer.")
    content: PopupContent | EmailContent | SmsContent | PushContent | WebhookContent | None = Field(
        default=None, description="What the customer gets; its fields depend on the channel."
    )
    variants: tuple[Variant, ...] = Field(
        default=(),
        description="Instead of `content`: 2 to 10 versions of it; a customer always gets the same one.",
        json_schema_extra={"minItems": 2, "maxItems": 10},
    )
    priority: Annotated[StrictInt, Field(ge=-1000, le=1000)] = Field(
        default=0,
        description="A response has one popup: that of the campaign with the highest priority, -1000 to 1000.",
        examples=[10],
    )
    schedule: Schedule | None = Field(default=None, description="When the campaign may activate.")
    holdout: Share | None = Field(
        default=None,
        description="Share of customers whose activations are recorded but not delivered, for comparison.",
        examples=["10%", "2.5%"],
    )
    limits: Limits | None = Field(default=None, description="How often one customer may activate the campaign.")
    delay: Duration | None = Field(
        default=None, description="How long after the match to deliver, at most 90d; not for popups.", examples=["30m"]
    )
    cancel_on: Annotated[tuple[Matcher, ...], Field(max_length=10)] = Field(
        default=(),
        description="Up to 10 events that cancel a delayed message before it is sent.",
        examples=[[{"event": "purchase"}]],
    )
    goal: Goal | None = Field(
        default=None,
        description="The event that the campaign is meant to bring about: it marks an activation as converted.",
    )
    cancel_on_goal: StrictBool = Field(
        default=True, description="Whether the goal also cancels a delayed message before it is sent."
    )
    quiet_hours: CampaignQuietHours | None = Field(
        default=None,
        description="What to do in the site's quiet hours: `hold`, `drop` or `ignore`; or quiet hours of its own.",
        examples=["ignore", {"from": "22:00", "to": "08:00", "then": "drop"}],
    )
    max_lateness: Duration | None = Field(
        default=None,
        description="Messages more than this late are dropped; default: 1h, for popups 1m.",
        examples=["2h"],
    )
    if_state_lost: Literal["skip", "send"] = Field(
        default="skip",
        description="Whether to `skip` or `send` a delayed message if the state store has lost its data.",
    )
    until_seen: UntilSeen | None = Field(
        default=None,
        description="The popup is also in the responses to the customer's next events, until it is seen: `true` for "
        "30m, or a duration.",
    )

    @property
    def lateness(self) -> int:
        """Return ``max_lateness`` or its default, in ms."""
        return self.max_lateness or (POPUP_LATENESS_MS if self.channel == "popup" else LATENESS_MS)

    @property
    def contents(self) -> Mapping[str, PopupContent | EmailContent | SmsContent | PushContent | WebhookContent]:
        """Return the content or the contents of all variants, by field."""
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
            message = "an absence ('unless') has no response that could carry a popup: use channel email"
            raise FieldErrors(("", message))
        return value

    @field_validator("content", "variants", mode="before")
    @classmethod
    def _check_content(cls, value: Any, info: ValidationInfo) -> Any:
        channel = info.data.get("channel")
        if channel is None:
            raise FieldErrors  # no message: the error is the channel's, and without it nothing is known
        if info.field_name == "content":
            return None if value is None else parse_content(channel, value)
        return () if value in ((), []) else parse_variants(channel, value)

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        found = [*_content_contradictions(self), *_delivery_contradictions(self)]
        if found:
            raise FieldErrors(*found)
        return self


def _content_contradictions(campaign: Campaign) -> Iterator[tuple[str, str]]:
    if campaign.content is None and not campaign.variants:
        yield "content", "is missing: write what customers get, or several versions of it as 'variants'"
    elif campaign.content is not None and campaign.variants:
        yield "variants", "conflicts with 'content': write one of the two"


def _delivery_contradictions(campaign: Campaign) -> Iterator[tuple[str, str]]:
    if campaign.channel == "popup":
        yield from _popup_contradictions(campaign)
    elif campaign.until_seen is not None:
        yield "until_seen", f"is for popups only: remove it, because the channel is {campaign.channel}"
    if campaign.delay is None:
        if campaign.cancel_on:
            yield "cancel_on", "needs 'delay': a message that is sent immediately cannot be cancelled"
        if not campaign.cancel_on_goal:
            yield "cancel_on_goal", "needs 'delay': a message that is sent immediately cannot be cancelled"
        if campaign.if_state_lost == "send":
            yield "if_state_lost", "needs 'delay': only a delayed message can be lost"
    elif not campaign.cancel_on_goal and campaign.goal is None:
        yield "cancel_on_goal", "has no effect without 'goal': remove it"


def _popup_contradictions(campaign: Campaign) -> Iterator[tuple[str, str]]:
    if campaign.delay is not None:
        message = "a popup cannot be delayed, because no later response could carry it: use another channel, or "
        yield "delay", message + "write 'delay' into 'content' to let the page wait"
    quiet = campaign.quiet_hours
    if quiet == "hold" or (isinstance(quiet, QuietHours) and quiet.then == "hold"):
        place = "quiet_hours" if quiet == "hold" else "quiet_hours.then"
        yield place, "a popup cannot be held, because no later response could carry it: write drop or ignore"
    if campaign.lateness > POPUP_LATENESS_MS:
        message = "must not be more than 1m for a popup, which is returned in the response to its event"
        yield "max_lateness", message
