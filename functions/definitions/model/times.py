"""When something may happen: time zones, hours of the day, days and dates, as people write them."""

import re
import zoneinfo
from collections.abc import Mapping
from datetime import datetime, time, timedelta
from functools import cache
from typing import Annotated, Any, ClassVar, Literal, Self, get_args

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.json_schema import JsonSchemaValue

from definitions.model.field_errors import FieldErrors, suggestion
from definitions.model.fields import ONE_OR_MORE, Definition, one_or_more
from shared.channels import POPUP, QUIET, Channel

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = get_args(Day)
DAY_MINUTES = 24 * 60

_CLOCK = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]"
CLOCK = re.compile(rf"{_CLOCK}|24:00")
HOURS = re.compile(rf"({_CLOCK})-({_CLOCK}|24:00)")
MOMENT = re.compile(r"2[0-9]{3}-[0-9]{2}-[0-9]{2}(?:T[0-9]{2}:[0-9]{2}(?::[0-9]{2})?)?")


@cache
def _zones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones() | {"UTC"})


def zone(*words: str) -> AfterValidator:
    """Return the check of a time zone: an IANA name, or one of *words*."""

    def check(value: str) -> str:
        if value not in words and value not in _zones():
            others = "".join(f"{word}, " for word in words[:-1]) + (f"{words[-1]} or " if words else "")
            hint = suggestion(value, _zones() | {*words}) or f": write {others}an IANA name such as Europe/Vienna"
            raise FieldErrors(("", f"unknown time zone '{value}'{hint}"))
        return value

    return AfterValidator(check)


def minutes(clock: str) -> int:
    """Return the minutes from midnight to ``HH:MM``."""
    hour, minute = clock.split(":")
    return int(hour) * 60 + int(minute)


def moment(text: str, *, end: bool = False) -> datetime:
    """Return *text* as a local time. A date means its midnight, or as an *end*, the midnight after it."""
    local = datetime.fromisoformat(text)
    return local + timedelta(days=1) if end and "T" not in text else local


def _check_clock(value: Any) -> Any:
    if not isinstance(value, str) or not CLOCK.fullmatch(value):
        raise FieldErrors(("", f'{value!r} is not a time of day: write it in quotes, such as "22:00"'))
    return value


def _check_hours(value: Any) -> Any:
    found = HOURS.fullmatch(value) if isinstance(value, str) else None
    if not found:
        message = f'{value!r} is not a period of the day: write it in quotes, such as "09:00-21:00"'
        raise FieldErrors(("", message))
    if minutes(found[1]) == minutes(found[2]):
        raise FieldErrors(("", f"{value} begins and ends at the same time: leave 'hours' out for the whole day"))
    return value


def _check_moment(value: Any) -> Any:
    if isinstance(value, str) and re.fullmatch(MOMENT.pattern + r"(\.[0-9]+)?(Z|[+-][0-9]{2}:?[0-9]{2})", value):
        raise FieldErrors(("", f"{value} has an offset: write the local time in 'timezone', without an offset"))
    try:
        if not isinstance(value, str) or not MOMENT.fullmatch(value):
            raise ValueError  # handled like 2026-02-30
        datetime.fromisoformat(value)
    except ValueError:
        message = f"{value!r} is not a date: write 2026-12-01, or 2026-12-01T09:00 for a time of that day"
        raise FieldErrors(("", message)) from None
    return value


Clock = Annotated[str, BeforeValidator(_check_clock), Field(json_schema_extra={"pattern": f"^({CLOCK.pattern})$"})]
Hours = Annotated[str, BeforeValidator(_check_hours), Field(json_schema_extra={"pattern": f"^{HOURS.pattern}$"})]
Moment = Annotated[str, BeforeValidator(_check_moment), Field(json_schema_extra={"pattern": f"^{MOMENT.pattern}$"})]


class Schedule(Definition):
    """When a campaign may activate: every field that is written must hold."""

    model_config = ConfigDict(
        json_schema_extra={"anyOf": [{"required": [field]} for field in ("from", "to", "days", "hours")]}
    )
    example = 'days: [mon, fri], hours: "09:00-21:00"'
    unsupported_fields: ClassVar[Mapping[str, str]] = {
        "begin": "the first moment is called 'from'",
        "start": "the first moment is called 'from'",
        "until": "the last moment is called 'to'",
        "end": "the last moment is called 'to'",
        "zone": "the zone is called 'timezone'",
    }

    from_: Moment | None = Field(
        alias="from",
        default=None,
        description="First day, or first moment: a date, or a date and time, local in `timezone`.",
        examples=["2026-12-01", "2026-12-01T09:00"],
    )
    to: Moment | None = Field(
        default=None,
        description="Last day, or the moment at which the campaign ends, local in `timezone`.",
        examples=["2026-12-24"],
    )
    days: Annotated[tuple[Day, ...], BeforeValidator(one_or_more), Field(min_length=1), ONE_OR_MORE] = Field(
        default=DAYS,
        description="Days of the week: `mon`, `tue`, `wed`, `thu`, `fri`, `sat`, `sun`.",
        examples=[["mon", "fri"]],
    )
    hours: Hours | None = Field(
        default=None,
        description="Hours of the day, end excluded. If they cross midnight, the early hours belong to the day before.",
        examples=["09:00-21:00"],
    )
    timezone: Annotated[str, zone("user", "site")] = Field(
        default="site",
        description="`site`, `user` (the customer's; `from` and `to` are then the site's), or an IANA name.",
        examples=["user"],
    )

    @property
    def minutes(self) -> tuple[int, int]:
        """Return the first minute of the day and the end, excluded; it may be on the next day."""
        if self.hours is None:
            return 0, DAY_MINUTES
        start, stop = (minutes(clock) for clock in self.hours.split("-"))
        return start, stop or DAY_MINUTES

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.from_ is None and self.to is None and self.hours is None and set(self.days) == set(DAYS):
            raise FieldErrors(("", "restricts nothing: write 'from', 'to', 'days' or 'hours', or remove it"))
        if self.from_ is not None and self.to is not None:
            begin, end = moment(self.from_), moment(self.to, end=True)
            if begin >= end:
                raise FieldErrors(("to", f"is not after 'from' ({self.from_}): the schedule is never open"))
            if not self._opens(begin, end):
                message = "has no day and hour between 'from' and 'to': the schedule is never open"
                raise FieldErrors(("", message))
        return self

    def _opens(self, begin: datetime, end: datetime) -> bool:
        if self.timezone == "user" or end - begin > timedelta(days=8):
            return True  # somewhere on earth, or on some day of the week
        start, stop = self.minutes
        for number in range(-1, 9):
            day = datetime.combine(begin.date(), time()) + timedelta(days=number)
            opens, closes = (day + timedelta(minutes=each) for each in (start, stop if stop > start else stop + 1440))
            if DAYS[day.weekday()] in self.days and opens < end and closes > begin:
                return True
        return False


_FALLBACK_RULE: JsonSchemaValue = {
    "if": {"required": ["fallback"]},
    "then": {"properties": {"timezone": {"const": "user"}}, "required": ["timezone"]},
}


class QuietHours(Definition):
    """Hours of every day in which nothing is sent."""

    model_config = ConfigDict(json_schema_extra=_FALLBACK_RULE)
    example = 'from: "22:00", to: "08:00"'
    unsupported_fields: ClassVar[Mapping[str, str]] = {
        "hours": "write 'from' and 'to'",
        "days": "quiet hours are the same every day; the 'schedule' of a campaign has days",
        "zone": "the zone is called 'timezone'",
    }

    from_: Clock = Field(alias="from", description="When they begin.", examples=["22:00"])
    to: Clock = Field(description="When they end; on the next day if it is not later than `from`.", examples=["08:00"])
    timezone: Annotated[str, zone("user", "site")] = Field(
        default="site", description="`site`, `user` (the customer's), or an IANA name.", examples=["user"]
    )
    fallback: Annotated[str, zone()] | None = Field(
        default=None,
        description="With `timezone: user`: the zone of customers whose zone is unknown. Without it, their messages "
        "are held.",
        examples=["Europe/Vienna"],
    )
    then: Literal["hold", "drop"] = Field(
        default="hold", description="`hold` messages until the quiet hours end, or `drop` them."
    )

    @property
    def minutes(self) -> tuple[int, int]:
        """Return the first quiet minute of the day and the end, excluded; it may be on the next day."""
        return minutes(self.from_), minutes(self.to) or DAY_MINUTES

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        start, stop = (minutes(clock) % DAY_MINUTES for clock in (self.from_, self.to))
        if start == stop or self.from_ == "24:00":
            raise FieldErrors(("to", "must be another time of day than 'from', so that the quiet hours end"))
        if self.fallback is not None and self.timezone != "user":
            message = "has no effect without 'timezone: user': it is the zone of customers whose zone is unknown"
            raise FieldErrors(("fallback", message))
        return self


class SiteQuietHours(QuietHours):
    """Hours of every day in which nothing is sent."""

    model_config = ConfigDict(
        json_schema_extra={
            "allOf": [
                _FALLBACK_RULE,
                {
                    "if": {"properties": {"channels": {"contains": {"const": POPUP}}}, "required": ["channels"]},
                    "then": {"properties": {"then": {"const": "drop"}}, "required": ["then"]},
                },
            ]
        }
    )

    channels: Annotated[tuple[Channel, ...], Field(min_length=1)] = Field(
        default=QUIET,
        description="Channels that have quiet hours; popups only with `then: drop`.",
        examples=[["email", "sms"]],
    )

    @model_validator(mode="after")
    def _check_popup(self) -> Self:
        if POPUP in self.channels and self.then == "hold":
            message = "a popup cannot be held, because no later response could carry it: write 'then: drop'"
            raise FieldErrors(("then", message))
        return self
