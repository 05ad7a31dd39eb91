"""The trigger of a campaign, as it is written."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, StrictBool, StrictInt, field_validator, model_validator

from definitions.model.field_errors import FieldErrors
from definitions.model.fields import Definition, Duration, Name, Names, one_or_more
from shared.conditions.parsing import check_attribute, parse_condition
from shared.errors import InvalidDefinition

MAX_MATCHERS = 40

_MIN_GAP = (
    "a minimum time between events cannot be decided from the newest of them alone, which is all that is "
    "kept; write 'gap' for a maximum, or 'unless' with 'for' for 'and then nothing for that long'"
)
_AT_MOST = (
    "when the n-th event comes, nobody knows yet whether more will follow; write 'times: n' for 'at least "
    "n', and 'unless' with the same event for 'and no further one for that long'"
)
_SUM = (
    "a sum over a moving window would need every event in it; let the site send the running total as an "
    "attribute and compare that, as in where: {total: {gte: 100}}, or count events with 'times'"
)
_COMPARED = (
    "events are not compared with each other, because only their times are kept; 'per' separates runs by the "
    "value of an attribute: a match then has the same value in all its events"
)
_SILENCE = (
    "a wait in the middle of a sequence cannot be decided together with 'within'; write 'not_before' in the "
    "next step for 'none of these in between', or 'unless' beside 'sequence' for silence at its end"
)
NOT_OFFERED = {
    **dict.fromkeys(("min_gap", "after", "wait", "at_least_after", "min_within", "not_within"), _MIN_GAP),
    "at_least": f"'times: n' already means 'at least n'; as a time, {_MIN_GAP}",
    **dict.fromkeys(("exactly", "at_most", "max_times", "times_max", "no_more_than"), _AT_MOST),
    **dict.fromkeys(("sum", "sum_of", "count_of", "total", "average", "avg"), _SUM),
    **dict.fromkeys(("same", "same_as", "equals", "compare", "greater_than_previous"), _COMPARED),
}
_ONLY_STEPS = dict.fromkeys(
    ("times", "consecutive", "directly", "gap", "not_before", "inner"),
    "only a step of a 'sequence' can have it; this is a plain matcher with 'event' and 'where'",
)


class Matcher(Definition):
    """A test of one event: its name is one of ``event``, its attributes meet ``where``."""

    example = "event: game_result"
    not_offered = NOT_OFFERED | _ONLY_STEPS

    event: Names
    where: dict[str, Any] = Field(default_factory=dict)

    @field_validator("where", mode="before")
    @classmethod
    def _check_where(cls, value: Any) -> dict[str, Any]:
        try:
            parse_condition(value, field="", dates=False)
        except InvalidDefinition as error:
            raise FieldErrors((error.field, error.message)) from None
        return dict(value)


class Step(Matcher):
    """A step of a sequence; times in ms. ``times`` = at least that many of the event."""

    not_offered = NOT_OFFERED | dict.fromkeys(("unless", "absent", "for"), _SILENCE)

    times: Annotated[StrictInt, Field(ge=1, le=50)] = 1
    consecutive: StrictBool = False
    directly: StrictBool = False
    gap: Duration | None = None
    not_before: tuple[Matcher, ...] = ()
    inner: Duration | None = None


class Unless(Matcher):
    """Trailing absence: fires ``for_`` ms after the sequence was complete, if no such event came."""

    example = "event: order, for: 30m"

    for_: Duration = Field(alias="for")
    anchor: Literal["first", "last"] = "first"


class Trigger(Definition):
    """A pattern of events; times in ms."""

    example = "sequence: [{event: deposit}]"
    not_offered = NOT_OFFERED | {
        "event": "events stand in steps: write sequence: [{event: ...}]",
        "steps": "the steps are called 'sequence'",
        "window": "the time frame is called 'within'",
        "any_order": "matchers in any order are called 'all_of'",
        "any_of": "write a list of names, event: [a, b], for any of them, or a campaign for each",
    }

    sequence: Annotated[tuple[Step, ...], Field(min_length=1, max_length=10)] | None = None
    all_of: Annotated[tuple[Matcher, ...], Field(min_length=2, max_length=10)] | None = None
    within: Duration | None = None
    subject: Names | None = None
    reset_on: tuple[Matcher, ...] = ()
    unless: Unless | None = None
    per: Annotated[tuple[Name, ...], BeforeValidator(one_or_more)] = ()
    after_match: Literal["restart", "overlap", "every", "once"] = "restart"
    max_backdate: Duration = 300_000

    @field_validator("per")
    @classmethod
    def _check_per(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for number, name in enumerate(names):
            try:
                check_attribute(name, field=f"[{number}]")
            except InvalidDefinition as error:
                raise FieldErrors((error.field, error.message)) from None
        return names

    @model_validator(mode="after")
    def _check_fields_together(self) -> Self:
        found = list(_contradictions(self))
        if found:
            raise FieldErrors(*found)
        return self

    def matchers(self) -> Iterator[tuple[str, Matcher]]:
        """Yield every matcher with its field."""
        for number, step in enumerate(self.sequence or ()):
            yield f"sequence[{number}]", step
            for guard, matcher in enumerate(step.not_before):
                yield f"sequence[{number}].not_before[{guard}]", matcher
        for name, members in (("all_of", self.all_of or ()), ("reset_on", self.reset_on)):
            for number, matcher in enumerate(members):
                yield f"{name}[{number}]", matcher
        if self.unless is not None:
            yield "unless", self.unless


def _contradictions(trigger: Trigger) -> Iterator[tuple[str, str]]:
    steps = trigger.sequence or ()
    if (trigger.sequence is None) == (trigger.all_of is None):
        given = "not both" if steps else "one of the two is needed"
        yield (
            "all_of" if steps else "",
            f"write 'sequence' (in this order) or 'all_of' (in any order), {given}",
        )
        return
    for number, step in enumerate(steps):
        for name, message in _contradictions_of_step(step, first=number == 0):
            yield f"sequence[{number}].{name}", message
    if trigger.within is None and (trigger.all_of or sum(step.times for step in steps) > 1):
        yield (
            "within",
            "is missing: more than one event is needed, so say in what time, such as within: 10m",
        )
    yield from _contradictions_of_subject(trigger)
    distinct = {(*sorted(matcher.event), repr(matcher.where)) for _, matcher in trigger.matchers()}
    if len(distinct) > MAX_MATCHERS:
        yield (
            "",
            f"has {len(distinct)} different matchers, and {MAX_MATCHERS} is the most: split the campaign",
        )


def _contradictions_of_step(step: Step, *, first: bool) -> Iterator[tuple[str, str]]:
    if step.times == 1:
        if step.consecutive:
            yield (
                "consecutive",
                "needs 'times' of 2 or more; for 'right after the step before', write 'directly'",
            )
        if step.inner is not None:
            yield "inner", "needs 'times' of 2 or more; for the time since the step before, write 'gap'"
    if first:
        for name, given in (("directly", step.directly), ("gap", step.gap), ("not_before", step.not_before)):
            if given:
                hint = "; write 'consecutive' for its own events" if name == "directly" and step.times > 1 else ""
                yield name, f"the first step has no step before it: remove '{name}'{hint}"


def _contradictions_of_subject(trigger: Trigger) -> Iterator[tuple[str, str]]:
    if trigger.subject is None:
        return
    steps = trigger.sequence or ()
    if not any(step.consecutive or step.directly for step in steps):
        yield "subject", "means nothing without a step that is 'consecutive' or 'directly': remove it"
    for number, step in enumerate(steps):
        strict = "consecutive" if step.consecutive else "directly" if step.directly else None
        needed = set(step.event) if strict else set()
        if step.directly and number:
            needed |= set(steps[number - 1].event)
        for name in sorted(needed - set(trigger.subject)):
            yield (
                "subject",
                f"must contain '{name}', because sequence[{number}] is '{strict}' and is about it",
            )


def never_fires(trigger: Trigger) -> Iterator[tuple[str, str]]:
    """Yield the fields, with the reason, for which a trigger, though well-formed, can never be met."""
    units = [(number, step) for number, step in enumerate(trigger.sequence or ()) for _ in range(step.times)]
    for number, step in dict(units[1:-1]).items():
        for reset, matcher in enumerate(trigger.reset_on):
            if set(step.event) <= set(matcher.event) and matcher.where in ({}, step.where):
                yield (
                    f"reset_on[{reset}]",
                    f"clears all progress on every event of sequence[{number}]: the trigger can never fire",
                )
    for field, matcher in trigger.matchers():
        if field.startswith(("sequence", "all_of")) and "not_before" not in field:
            for name in trigger.per:
                if matcher.where.get(name) == {"exists": False}:
                    yield (
                        f"{field}.where.{name}",
                        f"'per' needs {name}: an event without it belongs to no run, and can never match",
                    )
