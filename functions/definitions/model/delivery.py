"""How often, when and in which version a campaign reaches a customer, as it is written; times in ms."""

from collections.abc import Mapping
from types import GenericAlias
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    StrictInt,
    TypeAdapter,
    create_model,
    model_validator,
)

from definitions.model.content import CONTENTS, Content, EmailContent, PushContent, SmsContent, WebhookContent
from definitions.model.field_errors import FieldErrors, suggestion
from definitions.model.fields import Definition, Duration, format_duration, identifier, parse_duration
from definitions.model.liquid import check_content
from definitions.model.popup import PopupContent
from definitions.model.times import QuietHours
from definitions.model.trigger import Matcher

POPUP_LATENESS_MS = 60_000
LATENESS_MS = 3_600_000
OFFERED_MS = 1_800_000
LONGEST_OFFER_MS = 86_400_000
MOST_TIMES = 50  # what one row of the state store remembers of one limit

_ABOUT_LIMITS = "a limit is 'again_after', or 'max' with 'times' and 'per'"


def _offered_for(value: Any) -> int:
    if value is True:
        return OFFERED_MS
    if isinstance(value, bool):
        raise FieldErrors(("", "write true, or a duration such as 30m, or remove the line"))
    duration = parse_duration(value)
    if duration > LONGEST_OFFER_MS:
        raise FieldErrors(("", "must not be more than 24h"))
    return duration


# How long a popup is offered until somebody has seen it; true: half an hour.
OfferedFor = Annotated[
    int, BeforeValidator(_offered_for), PlainSerializer(format_duration, return_type=str, when_used="json")
]


class TimesPer(Definition):
    """At most ``times`` within any ``per``."""

    example = "times: 3, per: 30d"
    not_offered: ClassVar[Mapping[str, str]] = {"max": "here the number is called 'times'", "within": "write 'per'"}

    times: Annotated[StrictInt, Field(ge=1, le=MOST_TIMES)]
    per: Duration


class Limits(Definition):
    """How often one customer may activate a campaign."""

    example = "again_after: 7d"
    not_offered: ClassVar[Mapping[str, str]] = dict.fromkeys(("times", "per"), _ABOUT_LIMITS)

    again_after: Duration | None = None
    max: TimesPer | None = None

    @model_validator(mode="after")
    def _check_any(self) -> Self:
        if self.again_after is None and self.max is None:
            raise FieldErrors(("", f"limits nothing: {_ABOUT_LIMITS}"))
        return self


class Goal(Matcher):
    """What the campaign is for: this event, within ``within`` after an activation."""

    example = "event: deposit, within: 24h"

    within: Duration = 7 * 86_400_000


class Variant(Definition):
    """One version of a campaign's content."""

    example = "id: a, weight: 1, content: {...}"

    id: Annotated[str, identifier(32)]
    weight: Annotated[StrictInt, Field(ge=1, le=10_000)] = 1
    content: PopupContent | EmailContent | SmsContent | PushContent | WebhookContent


def _checked(content: Content) -> Content:
    found = check_content(content)
    if found:
        raise FieldErrors(
            *((each.field, f"{each.message} (line {each.line}, column {each.column} of the text)") for each in found)
        )
    return content


def _right_channel(channel: str) -> BeforeValidator:
    """Return the check that a content is not, as a whole, one of another channel."""

    def check(value: Any) -> Any:
        if isinstance(value, Mapping) and not set(value) <= set(CONTENTS[channel].model_fields):
            for other, model in CONTENTS.items():
                needed = {name for name, field in model.model_fields.items() if field.is_required()}
                if needed <= set(value) <= set(model.model_fields):
                    own = ", ".join(f"'{name}'" for name in CONTENTS[channel].model_fields)
                    raise FieldErrors(("", f"is content of the channel {other}; that of {channel} has {own}"))
        return value

    return BeforeValidator(check)


_CHECKED: dict[str, Any] = {
    name: Annotated[model, _right_channel(name), AfterValidator(_checked)] for name, model in CONTENTS.items()
}
_CONTENT: dict[str, TypeAdapter[Content]] = {name: TypeAdapter(checked) for name, checked in _CHECKED.items()}


def _variants(checked: Any) -> TypeAdapter[tuple[Variant, ...]]:
    variant = create_model("Variant", __base__=Variant, content=(checked, ...))
    several: Any = Annotated[GenericAlias(tuple, (variant, ...)), Field(min_length=2, max_length=10)]
    return TypeAdapter(several)


_VARIANTS = {name: _variants(checked) for name, checked in _CHECKED.items()}


def read_content(channel: str, value: Any) -> Content:
    """Return *value* as content of *channel*, its Liquid and URLs checked; raises what pydantic raises."""
    return _CONTENT[channel].validate_python(value)


def read_variants(channel: str, value: Any) -> tuple[Variant, ...]:
    """Return *value* as variants of the content of *channel*, checked likewise, with an id each."""
    variants = _VARIANTS[channel].validate_python(value)
    ids = [variant.id for variant in variants]
    twice = [number for number, name in enumerate(ids) if name in ids[:number]]
    if twice:
        raise FieldErrors(*((f"[{number}].id", f"another variant has the id '{ids[number]}' too") for number in twice))
    return variants


def read_quiet_hours(value: Any) -> Any:
    """Return what a campaign says of quiet hours: a word about the site's, or its own."""
    if value is None:
        return None
    if isinstance(value, Mapping | QuietHours):
        return QuietHours.model_validate(value)
    if value not in ("hold", "drop", "ignore"):
        hint = suggestion(value, ("hold", "drop", "ignore")) if isinstance(value, str) else ""
        example = f"or a map such as {{{QuietHours.example}}}"
        raise FieldErrors(("", f"must be hold, drop or ignore, {example}{hint}"))
    return value


OwnQuietHours = Literal["hold", "drop", "ignore"] | QuietHours
