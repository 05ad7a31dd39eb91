"""How often, when and in which version a campaign reaches a customer, as people write it."""

from collections.abc import Mapping
from types import GenericAlias
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StrictInt,
    TypeAdapter,
    WithJsonSchema,
    create_model,
    model_validator,
)

from definitions.model.content import CONTENTS, Content, EmailContent, PushContent, SmsContent, WebhookContent
from definitions.model.field_errors import FieldErrors, suggestion
from definitions.model.fields import (
    DURATION_SCHEMA,
    Definition,
    Duration,
    ShortIdentifier,
    format_duration,
    parse_duration,
)
from definitions.model.popup import PopupContent
from definitions.model.times import QuietHours
from definitions.model.trigger import Matcher

POPUP_LATENESS_MS = 60_000
LATENESS_MS = 3_600_000
UNTIL_SEEN_MS = 1_800_000
MAX_UNTIL_SEEN_MS = 86_400_000
MAX_TIMES = 50  # the state store remembers that many times per limit

_ABOUT_LIMITS = "a limit is 'again_after', or 'max' with 'times' and 'per'"


def _parse_until_seen(value: Any) -> int:
    if value is True:
        return UNTIL_SEEN_MS
    if isinstance(value, bool):
        raise FieldErrors(("", "write true, or a duration such as 30m, or remove the line"))
    duration = parse_duration(value)
    if duration > MAX_UNTIL_SEEN_MS:
        raise FieldErrors(("", "must not be more than 24h"))
    return duration


UntilSeen = Annotated[
    int,
    BeforeValidator(_parse_until_seen),
    PlainSerializer(format_duration, return_type=str, when_used="json"),
    WithJsonSchema({"anyOf": [{"const": True}, DURATION_SCHEMA]}),
]


class TimesPer(Definition):
    """At most so many times within any period of this length."""

    example = "times: 3, per: 30d"
    unsupported_fields: ClassVar[Mapping[str, str]] = {
        "max": "here the number is called 'times'",
        "within": "write 'per'",
    }

    times: Annotated[StrictInt, Field(ge=1, le=MAX_TIMES)] = Field(description="Number of times, 1 to 50.")
    per: Duration = Field(description="Length of the period, at most 90d.", examples=["30d"])


class Limits(Definition):
    """How often one customer may activate a campaign: `again_after`, `max` or both."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})
    example = "again_after: 7d"
    unsupported_fields: ClassVar[Mapping[str, str]] = dict.fromkeys(("times", "per"), _ABOUT_LIMITS)

    again_after: Duration | None = Field(
        default=None, description="Not again within this time after an activation.", examples=["7d"]
    )
    max: TimesPer | None = Field(
        default=None,
        description="At most so many times within any period of this length.",
        examples=[{"times": 3, "per": "30d"}],
    )

    @model_validator(mode="after")
    def _check_any(self) -> Self:
        if self.again_after is None and self.max is None:
            raise FieldErrors(("", f"limits nothing: {_ABOUT_LIMITS}"))
        return self


class Goal(Matcher):
    """The event that a campaign is meant to bring about."""

    example = "event: deposit, within: 24h"

    within: Duration = Field(
        default=7 * 86_400_000,
        description="How long after an activation the goal still counts, at most 90d.",
        examples=["24h"],
    )


class Variant(Definition):
    """One version of a campaign's content."""

    example = "id: a, weight: 1, content: {...}"

    id: ShortIdentifier = Field(description="Id of the variant, unique in the campaign: letters a-z, digits and '-'.")
    weight: Annotated[StrictInt, Field(ge=1, le=10_000)] = Field(
        default=1, description="How many customers get it, in proportion to the other variants, 1 to 10000."
    )
    content: PopupContent | EmailContent | SmsContent | PushContent | WebhookContent = Field(
        description="What the customer gets; its fields depend on the channel."
    )


def _check_channel(channel: str) -> BeforeValidator:
    """Return a check that refuses the content of another channel as a whole, instead of field by field."""

    def check(value: Any) -> Any:
        if isinstance(value, Mapping) and not set(value) <= set(CONTENTS[channel].model_fields):
            for other, model in CONTENTS.items():
                required = {name for name, field in model.model_fields.items() if field.is_required()}
                if required <= set(value) <= set(model.model_fields):
                    own = ", ".join(f"'{name}'" for name in CONTENTS[channel].model_fields)
                    raise FieldErrors(("", f"is content for channel {other}: for channel {channel}, write {own}"))
        return value

    return BeforeValidator(check)


def _variants(content: Any) -> TypeAdapter[tuple[Variant, ...]]:
    variant = create_model("Variant", __base__=Variant, content=(content, ...))
    several: Any = Annotated[GenericAlias(tuple, (variant, ...)), Field(min_length=2, max_length=10)]
    return TypeAdapter(several)


_TYPES: dict[str, Any] = {channel: Annotated[model, _check_channel(channel)] for channel, model in CONTENTS.items()}
_CONTENT: dict[str, TypeAdapter[Content]] = {channel: TypeAdapter(content) for channel, content in _TYPES.items()}
_VARIANTS = {channel: _variants(content) for channel, content in _TYPES.items()}


def parse_content(channel: str, value: Any) -> Content:
    """Return *value* as content of *channel*; raises what pydantic raises."""
    return _CONTENT[channel].validate_python(value)


def parse_variants(channel: str, value: Any) -> tuple[Variant, ...]:
    """Return *value* as variants of content of *channel*; raises what pydantic raises."""
    variants = _VARIANTS[channel].validate_python(value)
    ids = [variant.id for variant in variants]
    repeated = [number for number, name in enumerate(ids) if name in ids[:number]]
    if repeated:
        errors = ((f"[{number}].id", f"another variant has the id '{ids[number]}' too") for number in repeated)
        raise FieldErrors(*errors)
    return variants


def _parse_quiet_hours(value: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, Mapping | QuietHours):
        return QuietHours.model_validate(value)
    if value not in ("hold", "drop", "ignore"):
        hint = suggestion(value, ("hold", "drop", "ignore")) if isinstance(value, str) else ""
        example = f"or a map such as {{{QuietHours.example}}}"
        raise FieldErrors(("", f"must be hold, drop or ignore, {example}{hint}"))
    return value


# A word says how to treat the site's quiet hours; a map replaces them.
CampaignQuietHours = Annotated[Literal["hold", "drop", "ignore"] | QuietHours, BeforeValidator(_parse_quiet_hours)]
