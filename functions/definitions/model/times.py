"""When something may happen: time zones, hours of the day, days and dates, as they are written."""

import re
import zoneinfo
from datetime import datetime, time, timedelta
from functools import cache
from typing import Annotated, Any, ClassVar, Literal, Self, get_args

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from definitions.model.field_errors import FieldErrors, suggestion
from definitions.model.fields import Definition, one_or_more

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
    """Return the minutes from midnight to a time of the day, ``HH:MM``."""
    hour, minute = clock.split(":")
    return int(hour) * 60 + int(minute)


def check_clock(value: Any) -> Any:
    """Return a time of the day as it is written."""
    if not isinstance(value, str) or not CLOCK.fullmatch(value):
        raise FieldErrors(("", f'{value!r} is not a time of the day: write it in quotes, such as "22:00"'))
    return value


def check_hours(value: Any) -> Any:
    """Return hours of the day as they are written."""
    found = HOURS.fullmatch(value) if isinstance(value, str) else None
    if not found:
        raise FieldErrors(("", f'{value!r} are no hours of the day: write them in quotes, such as "09:00-21:00"'))
    if minutes(found[1]) == minutes(found[2]):
        raise FieldErrors(("", f"{value} begins and ends at the same time: leave 'hours' out for all day"))
    return value


def check_moment(value: Any) -> Any:
    """Return a date, or a date and time, as it is written."""
    if isinstance(value, str) and re.fullmatch(MOMENT.pattern + r"(\.[0-9]+)?(Z|[+-][0-9]{2}:?[0-9]{2})", value):
        raise FieldErrors(("", f"{value} has an offset: write it without one, as the clocks in 'timezone' show it"))
    try:
        if not isinstance(value, str) or not MOMENT.fullmatch(value):
            raise ValueError  # the same answer as to 2026-02-30
        datetime.fromisoformat(value)
    except ValueError:
        message = f"{value!r} is not a date: write 2026-12-01, or 2026-12-01T09:00 for a time of that day"
        raise FieldErrors(("", message)) from None
    return value


def moment(text: str, *, end: bool = False) -> datetime:
    """Return what *text* means on the clocks of its zone; as an *end*, a date is the whole of its day."""
    read = datetime.fromisoformat(text)
    return read + timedelta(days=1) if end and "T" not in text else read


Clock = Annotated[str, BeforeValidator(check_clock)]
Moment = Annotated[str, BeforeValidator(check_moment)]


class Schedule(Definition):
    """When a campaign may activate; what is left out does not restrict it."""

    example = 'days: [mon, fri], hours: "09:00-21:00"'
    not_offered: ClassVar = {
        "begin": "the first moment is called 'from'",
        "start": "the first moment is called 'from'",
        "until": "the last moment is called 'to'",
        "end": "the last moment is called 'to'",
        "zone": "the zone is called 'timezone'",
    }

    from_: Annotated[Moment | None, Field(alias="from")] = None
    to: Moment | None = None
    days: Annotated[tuple[Day, ...], BeforeValidator(one_or_more), Field(min_length=1)] = DAYS
    hours: Annotated[str, BeforeValidator(check_hours)] | None = None
    timezone: Annotated[str, zone("user", "site")] = "site"

    @property
    def minutes(self) -> tuple[int, int]:
        """Return first minute of the day, and the one after the last: not more than the first on the next day."""
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
                raise FieldErrors(("to", f"comes before 'from' ({self.from_}): the schedule is never open"))
            if not self._opens(begin, end):
                message = "none of its days and hours lie between 'from' and 'to': the schedule is never open"
                raise FieldErrors(("", message))
        return self

    def _opens(self, begin: datetime, end: datetime) -> bool:
        if self.timezone == "user" or end - begin > timedelta(days=8):
            return True  # somewhere, resp. on some day of the week
        start, stop = self.minutes
        for number in range(-1, 9):
            day = datetime.combine(begin.date(), time()) + timedelta(days=number)
            opens, closes = (day + timedelta(minutes=each) for each in (start, stop if stop > start else stop + 1440))
            if DAYS[day.weekday()] in self.days and opens < end and closes > begin:
                return True
        return False


class QuietHours(Definition):
    """Hours of every day in which nothing is sent."""

    example = 'from: "22:00", to: "08:00"'
    not_offered: ClassVar = {
        "hours": "write 'from' and 'to'",
        "days": "quiet hours are those of every day; 'schedule' of a campaign knows days",
        "zone": "the zone is called 'timezone'",
    }

    from_: Annotated[Clock, Field(alias="from")]
    to: Clock
    timezone: Annotated[str, zone("user", "site")] = "site"
    fallback: Annotated[str, zone()] | None = None
    then: Literal["hold", "drop"] = "hold"

    @property
    def minutes(self) -> tuple[int, int]:
        """Return first quiet minute of the day, and the one after the last, on the next day if not more."""
        return minutes(self.from_), minutes(self.to) or DAY_MINUTES

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        start, stop = (minutes(clock) % DAY_MINUTES for clock in (self.from_, self.to))
        if start == stop or self.from_ == "24:00":
            raise FieldErrors(("to", "must be another time of the day than 'from': quiet hours end somewhen"))
        if self.fallback is not None and self.timezone != "user":
            message = "is for customers whose zone nobody knows: it means nothing without 'timezone: user'"
            raise FieldErrors(("fallback", message))
        return self


class SiteQuietHours(QuietHours):
    """Quiet hours of a site: for all campaigns of ``channels`` that do not have their own."""

    channels: Annotated[tuple[Literal["popup", "email", "sms", "push", "webhook"], ...], Field(min_length=1)] = (
        "email",
        "sms",
        "push",
    )

    @model_validator(mode="after")
    def _check_popup(self) -> Self:
        if "popup" in self.channels and self.then == "hold":
            message = "a popup cannot be held, it has no later answer to come back in: write 'then: drop'"
            raise FieldErrors(("then", message))
        return self
