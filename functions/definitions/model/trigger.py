"""The trigger of a campaign, as people write it."""

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, StrictBool, StrictInt, model_validator
from pydantic.json_schema import JsonSchemaValue

from definitions.model.condition import SingleAttributeName, Where
from definitions.model.field_errors import FieldErrors
from definitions.model.fields import ONE_OR_MORE, Definition, Duration, Names, one_or_more
from definitions.model.unsupported import EVERYWHERE, IN_STEPS, ONLY_IN_STEPS

MAX_MATCHERS = 40


class Matcher(Definition):
    """A test of one event: its name, and its attributes."""

    example = "event: game_result"
    unsupported_fields: ClassVar[Mapping[str, str]] = EVERYWHERE | ONLY_IN_STEPS

    event: Names = Field(
        description="Name of the event, or a list of names: any of them.",
        examples=["purchase", ["add_to_cart", "add_to_wishlist"]],
    )
    where: Where = Field(
        default_factory=dict,
        description="Conditions on the attributes of the event, all of which must hold.",
        examples=[{"outcome": "win"}, {"amount": {"gte": 100}}],
    )


_REPEATED: JsonSchemaValue = {"properties": {"times": {"minimum": 2}}, "required": ["times"]}


class Step(Matcher):
    """One step of a sequence."""

    model_config = ConfigDict(
        json_schema_extra={
            "allOf": [
                {
                    "if": {"properties": {"consecutive": {"const": True}}, "required": ["consecutive"]},
                    "then": _REPEATED,
                },
                {"if": {"required": ["inner"]}, "then": _REPEATED},
            ]
        }
    )
    unsupported_fields: ClassVar[Mapping[str, str]] = EVERYWHERE | IN_STEPS

    times: Annotated[StrictInt, Field(ge=1, le=50)] = Field(
        default=1,
        description="At least this many events, 1 to 50; the step is complete with the last of them.",
        examples=[3],
    )
    consecutive: StrictBool = Field(
        default=False,
        description="The `times` events of this step come in a row: no other subject event between them.",
    )
    directly: StrictBool = Field(
        default=False, description="No other subject event between the step before and this one."
    )
    gap: Duration | None = Field(
        default=None, description="This step begins less than this after the step before.", examples=["5m"]
    )
    not_before: tuple[Matcher, ...] = Field(
        default=(),
        description="None of these events between the step before and this one.",
        examples=[[{"event": "purchase"}]],
    )
    inner: Duration | None = Field(
        default=None,
        description="The `times` events of this step, first to last, take less than this.",
        examples=["2m"],
    )


class Unless(Matcher):
    """Silence at the end: fire if the pattern is complete and then this event does not come for some time."""

    example = "event: order, for: 30m"

    for_: Duration = Field(alias="for", description="How long the event must not come.", examples=["30m"])
    anchor: Literal["first", "last"] = Field(
        default="first",
        description="Start the wait when the pattern is `first` complete, or restart it each time (`last`).",
    )


class Trigger(Definition):
    """The pattern of events that starts a campaign: `sequence` or `all_of`, and conditions on them."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [{"required": ["sequence"]}, {"required": ["all_of"]}],
            "if": {
                "anyOf": [
                    {"required": ["all_of"]},
                    {"properties": {"sequence": {"minItems": 2}}, "required": ["sequence"]},
                    {"properties": {"sequence": {"contains": _REPEATED}}, "required": ["sequence"]},
                ]
            },
            "then": {"required": ["within"]},
        }
    )
    example = "sequence: [{event: deposit}]"
    unsupported_fields: ClassVar[Mapping[str, str]] = EVERYWHERE | {
        "event": "write events into steps: sequence: [{event: ...}]",
        "steps": "the steps are called 'sequence'",
        "window": "the time frame is called 'within'",
        "any_order": "events in any order are called 'all_of'",
        "any_of": "write a list of names, event: [a, b], for any of them, or a campaign for each",
    }

    sequence: Annotated[tuple[Step, ...], Field(min_length=1, max_length=10)] | None = Field(
        default=None, description="1 to 10 steps, in this order."
    )
    all_of: Annotated[tuple[Matcher, ...], Field(min_length=2, max_length=10)] | None = Field(
        default=None, description="2 to 10 events, in any order."
    )
    within: Duration | None = Field(
        default=None,
        description="The first and the last event of a match are less than this apart; required if there are several.",
        examples=["10m", "24h"],
    )
    subject: Names | None = Field(
        default=None,
        description="Event names that `consecutive` and `directly` look at; default: those of their steps.",
        examples=[["game_won", "game_lost"]],
    )
    reset_on: tuple[Matcher, ...] = Field(
        default=(), description="Events that clear all progress, and a wait of `unless`."
    )
    unless: Unless | None = Field(
        default=None,
        description="Do not fire immediately, but if this event does not come for some time.",
    )
    per: Annotated[tuple[SingleAttributeName, ...], BeforeValidator(one_or_more), ONE_OR_MORE] = Field(
        default=(),
        description="Attribute, or several, whose value separates runs, such as `cart_id`.",
        examples=["cart_id"],
    )
    after_match: Literal["restart", "overlap", "every", "once"] = Field(
        default="restart",
        description="What may be used again after a match: `restart` (nothing), `overlap`, `every` or `once`.",
    )
    max_backdate: Duration = Field(
        default=300_000,
        description="An event that arrives later than this after it happened can only stop a trigger.",
        examples=["5m"],
    )

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        found = list(_contradictions(self))
        if found:
            raise FieldErrors(*found)
        return self

    def matchers(self) -> Iterator[tuple[str, Matcher]]:
        """Yield the field of each matcher, and the matcher."""
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
        choice = "not both" if steps else "one of the two is needed"
        yield "all_of" if steps else "", f"write 'sequence' (in this order) or 'all_of' (in any order), {choice}"
        return
    for number, step in enumerate(steps):
        for name, message in _step_contradictions(step, first=number == 0):
            yield f"sequence[{number}].{name}", message
    if trigger.within is None and (trigger.all_of or sum(step.times for step in steps) > 1):
        yield "within", "is missing: more than one event is needed, so give a time frame, such as within: 10m"
    yield from _subject_contradictions(trigger)
    distinct = {(*sorted(matcher.event), repr(matcher.where)) for _, matcher in trigger.matchers()}
    if len(distinct) > MAX_MATCHERS:
        yield "", f"has {len(distinct)} different matchers, but at most {MAX_MATCHERS} are allowed: split the campaign"


def _step_contradictions(step: Step, *, first: bool) -> Iterator[tuple[str, str]]:
    if step.times == 1:
        if step.consecutive:
            yield "consecutive", "needs 'times' of 2 or more; for 'right after the step before', write 'directly'"
        if step.inner is not None:
            yield "inner", "needs 'times' of 2 or more; for the time since the step before, write 'gap'"
    if first:
        for name, given in (("directly", step.directly), ("gap", step.gap), ("not_before", step.not_before)):
            if given:
                hint = "; write 'consecutive' for its own events" if name == "directly" and step.times > 1 else ""
                yield name, f"the first step has no step before it: remove '{name}'{hint}"


def _subject_contradictions(trigger: Trigger) -> Iterator[tuple[str, str]]:
    if trigger.subject is None:
        return
    steps = trigger.sequence or ()
    if not any(step.consecutive or step.directly for step in steps):
        yield "subject", "has no effect without a step that is 'consecutive' or 'directly': remove it"
    for number, step in enumerate(steps):
        strict = "consecutive" if step.consecutive else "directly" if step.directly else None
        needed = set(step.event) if strict else set()
        if step.directly and number:
            needed |= set(steps[number - 1].event)
        for name in sorted(needed - set(trigger.subject)):
            yield "subject", f"must contain '{name}', because sequence[{number}] is '{strict}' and needs that event"


def never_fires(trigger: Trigger) -> Iterator[tuple[str, str]]:
    """Yield a field and a reason for each part of a valid trigger that keeps it from ever firing."""
    units = [(number, step) for number, step in enumerate(trigger.sequence or ()) for _ in range(step.times)]
    for number, step in dict(units[1:-1]).items():
        for reset, matcher in enumerate(trigger.reset_on):
            if set(step.event) <= set(matcher.event) and matcher.where in ({}, step.where):
                message = f"clears all progress on every event of sequence[{number}]: the trigger can never fire"
                yield f"reset_on[{reset}]", message
    for field, matcher in trigger.matchers():
        if field.startswith(("sequence", "all_of")) and "not_before" not in field:
            for name in trigger.per:
                if matcher.where.get(name) == {"exists": False}:
                    message = f"can never match: 'per' needs {name}, because an event without it belongs to no run"
                    yield f"{field}.where.{name}", message
