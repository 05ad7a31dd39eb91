"""The target group, as it is written: by a rule, by a list, or made of other groups."""

from collections.abc import Iterator
from typing import Annotated, Any, Self

from pydantic import (
    BeforeValidator,
    Field,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
    model_validator,
)

from definitions.model.field_errors import FieldErrors
from definitions.model.fields import Definition, Name, identifier
from shared.conditions.parsing import parse_condition
from shared.errors import InvalidDefinition

UPLOADED = "uploaded"
MOST_GROUPS = 100
_OTHERS = ("any_of", "all_of", "none_of")


def _others(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        raise FieldErrors(("", f"must be a list of target groups: write [{value}]"))
    if not isinstance(value, list | tuple) or not value:
        raise FieldErrors(("", "must be a list of target groups, such as [vip-players]"))
    for number, name in enumerate(value):
        if not isinstance(name, str) or not name:
            raise FieldErrors((f"[{number}]", "must be the id of a target group; a condition stands below 'rule'"))
        if name == "everyone":
            message = "everyone is no target group: 'none_of' alone means all customers but those of its groups"
            raise FieldErrors((f"[{number}]", message))
    return tuple(value)


def _list(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    if value == UPLOADED:
        return ()
    if isinstance(value, str):
        message = "must be a list of user ids, or 'uploaded'; a file can be named in a folder of definitions only"
        raise FieldErrors(("", message))
    return handler(value)


Others = Annotated[tuple[str, ...], BeforeValidator(_others), Field(max_length=MOST_GROUPS)]


class TargetGroup(Definition):
    """A named set of users: those whose attributes meet ``rule``, those in ``list``, or some of other groups.

    All that is written must hold, as in a condition. ``list``: user ids; none where they are uploaded.
    """

    example = "id: vip-players, rule: {tier: vip}"

    id: Annotated[str, identifier(64)]
    name: Name | None = None
    rule: dict[str, Any] | None = None
    list: Annotated[tuple[Name, ...], Field(min_length=1), WrapValidator(_list)] | None = None
    any_of: Others | None = None
    all_of: Others | None = None
    none_of: Others | None = None

    @property
    def is_uploaded(self) -> bool:
        """Return whether its users are a list that is uploaded."""
        return self.list == ()

    @property
    def others(self) -> Iterator[tuple[str, str]]:
        """Yield the groups that it is made of: where each stands, and its id."""
        for field in _OTHERS:
            for number, name in enumerate(getattr(self, field) or ()):
                yield f"{field}[{number}]", name

    @field_validator("rule", mode="before")
    @classmethod
    def _check_rule(cls, value: Any) -> dict[str, Any] | None:
        if value is None:
            return None
        if value == {}:
            raise FieldErrors(("", "an empty rule would be everybody: write 'targets: everyone' in the campaign"))
        try:
            parse_condition(value, field="", dates=True)
        except InvalidDefinition as error:
            raise FieldErrors((error.field, error.message)) from None
        return dict(value)

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.rule is None and self.list is None and not any(self.others):
            message = (
                "needs 'rule' (a condition on customers), 'list' (user ids), or other groups: "
                "'any_of', 'all_of', 'none_of'"
            )
            raise FieldErrors(("", message))
        if self.rule is not None and self.list is not None:
            message = "has 'rule' and 'list': write a group for each, and a third with 'any_of' or 'all_of' of them"
            raise FieldErrors(("", message))
        found = list(_impossible(self))
        if found:
            raise FieldErrors(*found)
        return self


def _impossible(group: TargetGroup) -> Iterator[tuple[str, str]]:
    excluded = set(group.none_of or ())
    for number, name in enumerate(group.all_of or ()):
        if name in excluded:
            yield f"all_of[{number}]", f"nobody is in '{name}' and in none of it: it stands in 'none_of' too"
    if group.any_of and excluded.issuperset(group.any_of):
        yield "any_of", "nobody is left: all of them stand in 'none_of' too"
